"""Threads and tasks with local variables of every sort, at rest on locks.

    python locks.py

The thread `holder` rests in `plain_holder`, the thread `nested` in `inner_holder`
called by `outer_holder`, the task `task-holder` in `async_holder`. Protocol and truth
are those of `truth.py`; besides, the truth has

    "locals": [{"thread" or "task", "function", "line", "variables":
               [{"name", "type", "repr", "length", "truncated"}]}]

with the variables in the order of the code object, unassigned ones left out. A
`repr` longer than 2 000 characters is cut; `length` is `len` or null.
"""

import asyncio
import collections
import collections.abc
import sys
import threading

import introspect
import truth

GATE = threading.Lock()
MAX_REPR = 2000
FUNCTIONS = {"plain_holder", "inner_holder", "outer_holder", "async_holder"}


class Point:
    """An ordinary object."""

    def __init__(self):
        self.x = 1
        self.label = "point"


class Slotted:
    """An object without a dict."""

    __slots__ = ("left", "right")

    def __init__(self):
        self.left = 1


class Angry:
    """An object whose repr must never be called by a reader from outside."""

    def __repr__(self):
        return "<Angry>"


Pair = collections.namedtuple("Pair", "first second")


def plain_holder(argument, *rest, keyword=None, **others):
    """Numbers, strings and bytes."""
    zero, one, minus, small = 0, 1, -1, -5
    digit, digits = 2**30, 2**60 - 1
    big, negative, huge = 2**200 + 1, -(2**65), 10**3000
    yes, no, nothing = True, False, None
    ratio, tiny, infinite, nan = 3.25, 5e-324, float("-inf"), float("nan")
    complex_number = 1 - 2j
    empty, ascii_text, latin, wide, emoji = "", "plain", "größe", "名前", "🐍x"
    escape, control = "\x1b[31mred\x1b[0m\x07", "a\nb\tc\x00d\x7f\u202e"
    quotes = "it's \"quoted\" \\ "
    surrogate = "\ud800"
    long_text, long_wide = "x" * 10000000, "é" * 100000
    raw, no_bytes, long_bytes = b"\x00\xffraw", b"", b"z" * 1000000
    array = bytearray(b"abc")
    if argument is None:
        unassigned = 1
    gone = 1
    del gone
    GATE.acquire()
    return locals()


def outer_holder():
    """Containers, and a variable shared with a closure."""
    shared = "shared with inner"
    numbers, nested = [1, 2, 3], [[1, [2, [3, [4, [5]]]]], ("a", ("b",))]
    loop = [1]
    loop.append(loop)
    ring = {"name": "ring"}
    ring["self"] = ring
    deep = []
    for _ in range(2000):
        deep = [deep]
    million = list(range(1000000))
    mapping = {"a": 1, 2: "b", None: [True], ("t",): {"inner": 1.5}, b"k": set()}
    emptied = {"gone": 1, "kept": 2}
    del emptied["gone"]
    large = {number: str(number) for number in range(100000)}
    unique, frozen = {1, 2, 3}, frozenset("a")
    queue = collections.deque([1, 2], maxlen=5)
    ordered = collections.OrderedDict(a=1)

    def inner_holder(depth):
        """Objects, functions, classes."""
        point, slotted, angry = Point(), Slotted(), Angry()
        pair, kind, function, module = Pair(1, "two"), Point, outer_holder, sys
        method, builtin = pair.index, len
        span, part, dots = range(10), slice(1, None), Ellipsis
        generator = (number for number in numbers)
        seen = shared
        GATE.acquire()
        return locals()

    return inner_holder(3), locals()


async def async_holder(argument):
    """The locals of a suspended coroutine."""
    number, text, items = 42, "suspended", [argument, {"k": (1, 2)}]
    await truth.forever()
    return number, text, items


def describe(name, value):
    """One variable."""
    try:
        shown = repr(value)
    except RecursionError:
        shown = "<too deep>"
    except ValueError:
        shown = hex(value)
    length = len(value) if isinstance(value, collections.abc.Sized) else None
    if isinstance(value, type):
        length = None
    return {
        "name": name,
        "type": type(value).__name__,
        "repr": shown[:MAX_REPR],
        "length": length,
        "truncated": len(shown) > MAX_REPR,
    }


def describe_frame(frame, **owner):
    """All variables of a frame."""
    code, values = frame.f_code, frame.f_locals
    names = [*code.co_varnames, *code.co_cellvars, *code.co_freevars]
    ordered = [name for name in dict.fromkeys(names) if name in values]
    record = {"function": code.co_name, "line": frame.f_lineno}
    record.update(owner, variables=[describe(name, values[name]) for name in ordered])
    return record


def take(tasks):
    """The truth with the local variables."""
    record = truth.take_truth(tasks())
    record["locals"] = []
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident)
        while frame is not None:
            if frame.f_code.co_name in FUNCTIONS:
                record["locals"].append(describe_frame(frame, thread=thread.name))
            frame = frame.f_back
    for task in tasks():
        frame = task.get_coro().cr_frame
        if frame.f_code.co_name in FUNCTIONS:
            record["locals"].append(describe_frame(frame, task=task.get_name()))
    return record


def start(name, function, *arguments):
    """A daemon thread."""
    threading.Thread(target=function, name=name, args=arguments, daemon=True).start()


async def main():
    """Start the threads and the task."""
    truth.adopt_loop()
    truth.label("main", asyncio.current_task())
    GATE.acquire()
    start("holder", lambda: plain_holder(7, 8, 9, keyword="word", other="more"))
    start("nested", outer_holder)
    truth.spawn("locals", async_holder("passed"), "task-holder")
    await asyncio.sleep(0.5)
    truth.serve(commands={"truth": lambda: take(introspect.pending_tasks)})
    await truth.forever()


if __name__ == "__main__":
    truth.run(main)
