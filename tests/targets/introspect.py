"""What a program under test can say about its own tasks, by public means only.

Nothing here knows the memory layout of CPython: awaited objects come from
`cr_await`, `gi_yieldfrom`, `ag_await` and, for the few objects without such an
attribute (`coroutine_wrapper`, `async_generator_asend`, `async_generator_athrow`,
`anext_awaitable`), from `gc.get_referents`. So it is an oracle that shares no
code and no offsets with asyncspy.

Reading a task's name turns an automatic name into a string inside the task
(3.12+): call `describe_task` only after asyncspy has read.
"""

import asyncio
import gc
import sys
import types

TASK_TYPES = (asyncio.Task, asyncio.tasks._PyTask)
FUTURE_TYPES = (asyncio.Future, asyncio.futures._PyFuture)
LINK_ATTRIBUTES = ("cr_await", "gi_yieldfrom", "ag_await")
FRAME_ATTRIBUTES = ("cr_frame", "gi_frame", "ag_frame")
HIDDEN_LINKS = (
    "coroutine_wrapper",
    "async_generator_asend",
    "async_generator_athrow",
    "anext_awaitable",
)
PYTHON_LINKS = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)
MAX_CHAIN = 10000
top_frames = {}


def address(value):
    """The address of an object as a hex string, the id that asyncspy prints."""
    return hex(id(value))


def is_task(value):
    """Whether the object is a task; looks at its type alone, so proxies stay asleep."""
    return issubclass(type(value), TASK_TYPES)


def pending_tasks():
    """Every task of the interpreter that is not done, found through the collector."""
    return [task for task in gc.get_objects() if is_task(task) and not task.done()]


def first_attribute(value, names):
    """The first of the attributes that the object has, else None."""
    for name in names:
        if hasattr(value, name):
            return getattr(value, name)
    return None


def next_link(value):
    """The object that a coroutine-like object awaits, or None at the end."""
    if isinstance(value, PYTHON_LINKS):
        return first_attribute(value, LINK_ATTRIBUTES)
    if type(value).__name__ in HIDDEN_LINKS and type(value).__module__ == "builtins":
        wanted = HIDDEN_LINKS
        for referent in gc.get_referents(value):
            if isinstance(referent, PYTHON_LINKS) or type(referent).__name__ in wanted:
                return referent
    return None


def links(root):
    """All objects of an await chain, outermost first."""
    chain = []
    while root is not None and len(chain) < MAX_CHAIN:
        chain.append(root)
        root = next_link(root)
    return chain


def function_name(link, frame):
    """`co_qualname` where it exists (3.11+), else the coroutine's `__qualname__`."""
    code_name = getattr(frame.f_code, "co_qualname", None)
    return code_name or getattr(link, "__qualname__", frame.f_code.co_name)


def entry(name, frame):
    """One stack entry as it stands in the JSON."""
    return [name, frame.f_code.co_filename, frame.f_lineno]


def suspended_stack(coroutine):
    """[function, file, line] of each Python frame of the chain, innermost first."""
    stack = []
    for link in links(coroutine):
        if isinstance(link, PYTHON_LINKS):
            frame = first_attribute(link, FRAME_ATTRIBUTES)
            if frame is not None:
                stack.append(entry(function_name(link, frame), frame))
    return stack[::-1]


def is_opaque(coroutine):
    """Whether the chain passes through something that is neither Python nor a future.

    The frames below such an object (a Cython coroutine, a class with its own
    `__next__`) cannot be seen, so the stack of the task ends above it.
    """
    last = links(coroutine)[-1]
    if not isinstance(last, PYTHON_LINKS):
        return type(last).__name__ != "FutureIter"
    return False


def generator_qualnames():
    """Frame id to qualname of the coroutine that owns it; only needed up to 3.10."""
    owners = {}
    if sys.version_info >= (3, 11):
        return owners
    for value in gc.get_objects():
        if isinstance(value, PYTHON_LINKS):
            owners[id(first_attribute(value, FRAME_ATTRIBUTES))] = value.__qualname__
    return owners


def frame_name(frame, owners):
    """The name of a running frame; plain functions have only `co_name` up to 3.10."""
    code = frame.f_code
    return getattr(code, "co_qualname", None) or owners.get(id(frame), code.co_name)


def running_stack(task, thread_ident):
    """The frames of a running task: (sync_stack, coroutine stack), innermost first.

    The first holds everything from the top frame of the thread down to the task's
    outermost coroutine, the second its coroutine frames only. None when the task
    has left the thread meanwhile. A function that blocks leaves its frame in
    `top_frames`, since `sys._current_frames` visits the frames of all interpreters
    of the process and is not safe where each has a GIL of its own.
    """
    bottom = first_attribute(task.get_coro(), FRAME_ATTRIBUTES)
    frame = top_frames.get(task)
    if frame is None:
        frame = sys._current_frames().get(thread_ident)
    owners = generator_qualnames()
    frames = []
    while frame is not None:
        frames.append(frame)
        if frame is bottom:
            break
        frame = frame.f_back
    if not frames or frames[-1] is not bottom:
        return None
    coroutine_flags = 0x20 | 0x80 | 0x100 | 0x200
    first = len(frames)
    while first > 0 and frames[first - 1].f_code.co_flags & coroutine_flags:
        first -= 1
    named = [entry(frame_name(each, owners), each) for each in frames]
    return named, named[first:]


def state_of(task, current):
    """running, runnable or waiting."""
    if task is current:
        return "running"
    waiter = task._fut_waiter
    return "runnable" if waiter is None or waiter.done() else "waiting"


def published_awaiters(future, depth=0):
    """The tasks that CPython 3.14+ itself names as awaiting a future, else None."""
    if not hasattr(asyncio, "future_add_to_awaited_by"):
        return None
    found = set()
    for awaiter in getattr(future, "_asyncio_awaited_by", None) or ():
        if is_task(awaiter):
            found.add(address(awaiter))
        elif depth < 50:
            found |= set(published_awaiters(awaiter, depth + 1))
    return sorted(found)


def describe_task(task, current, thread_ident):
    """The truth about one task but for what the program declares about it."""
    state = state_of(task, current)
    coroutine = task.get_coro()
    record = {
        "id": address(task),
        "name": task.get_name(),
        "class": type(task).__name__,
        "loop": address(task._loop),
        "state": state,
        "leaf": None,
        "leaf_id": None,
        "opaque": False,
        "sync_stack": None,
        "stack": [],
        "asyncio_awaited_by": published_awaiters(task),
    }
    if task._fut_waiter is not None:
        record["leaf"] = type(task._fut_waiter).__name__
        record["leaf_id"] = address(task._fut_waiter)
    if state == "running":
        stacks = running_stack(task, thread_ident)
        if stacks is not None:
            record["sync_stack"], record["stack"] = stacks
    else:
        record["stack"] = suspended_stack(coroutine)
        record["opaque"] = is_opaque(coroutine)
    return record
