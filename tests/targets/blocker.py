"""Blocks its loop for known times, in one way or in all in turn.

    python blocker.py KIND [--uvloop] [--period S] [--duration S] [--count N]
                           [--seed N] [--hold]

KIND is one of the names in `KINDS` or `mixed`. A stall happens in a task named
`blocker-KIND`, in the coroutine `KIND_handler`, which calls the plain function
`block_KIND` of `blocks.py`; `callbacks` and `plain_callback` have no task. Without
`--duration` a stall lasts 50 ms to 1.5 s and is followed by 50 to 300 ms of rest;
`--period` sets the time from one beginning to the next. `--hold` waits for the
command `go`. Beside `quit`:

    truth   {"stalls": [{"kind", "task", "task_id", "handler", "asked_ns",
            "began_ns", "ended_ns", "over_ns", "function", "file", "line",
            "last_line", "callbacks"}], "gaps", "finished", "now_ns", "loops",
            "pid"}, times on CLOCK_MONOTONIC; the turn that was held began between
            `asked_ns`, the last look at the clock before it, and `began_ns`, and
            was over between `ended_ns` and `over_ns`, the first look in the next
            turn; `gaps` are the pauses of more than 50 ms that no stall explains
    go      begin, after `--hold`

A stall that runs in C with the GIL held delays the answer until it ends.
"""

import argparse
import asyncio
import os
import random
import time

import blocks
import introspect
import truth
from heartbeat import Heartbeat

PIECES = 50
stalls = []
lines = {}
heartbeat = Heartbeat()
state = {"finished": False, "asked_ns": 0}


def log(kind, function, began, ended, callbacks=1):
    """Keep one stall."""
    task = asyncio.current_task() if kind in HANDLERS else None
    first, last = lines[function]
    record = {"kind": kind, "task": None, "task_id": None, "handler": None}
    if task is not None:
        record.update(task=task.get_name(), task_id=introspect.address(task))
        record["handler"] = kind + "_handler"
    record.update(asked_ns=state["asked_ns"], began_ns=began, ended_ns=ended)
    record["function"] = function.__name__
    record.update(file=function.__code__.co_filename, line=first, last_line=last)
    record.update(callbacks=callbacks, over_ns=ended)
    stalls.append(record)


async def time_sleep_handler(seconds):
    log("time_sleep", blocks.block_time_sleep, *blocks.block_time_sleep(seconds))


async def cpu_python_handler(seconds):
    log("cpu_python", blocks.block_cpu_python, *blocks.block_cpu_python(seconds))


async def cpu_hash_handler(seconds):
    log("cpu_hash", blocks.block_cpu_hash, *blocks.block_cpu_hash(seconds))


async def cpu_regex_handler(seconds):
    log("cpu_regex", blocks.block_cpu_regex, *blocks.block_cpu_regex(seconds))


async def cpu_json_handler(seconds):
    log("cpu_json", blocks.block_cpu_json, *blocks.block_cpu_json(seconds))


async def cpu_sort_handler(seconds):
    log("cpu_sort", blocks.block_cpu_sort, *blocks.block_cpu_sort(seconds))


async def socket_recv_handler(seconds):
    log("socket_recv", blocks.block_socket_recv, *blocks.block_socket_recv(seconds))


async def file_read_handler(seconds):
    log("file_read", blocks.block_file_read, *blocks.block_file_read(seconds))


async def subprocess_handler(seconds):
    log("subprocess", blocks.block_subprocess, *blocks.block_subprocess(seconds))


async def lock_handler(seconds):
    log("lock", blocks.block_lock, *blocks.block_lock(seconds))


HANDLERS = {
    name[: -len("_handler")]: value
    for name, value in list(globals().items())
    if name.endswith("_handler")
}
KINDS = list(HANDLERS) + ["callbacks", "plain_callback"]
FUNCTIONS = [getattr(blocks, "block_" + kind) for kind in KINDS if kind != "callbacks"]
FUNCTIONS.append(blocks.callback_piece)


async def stall_in_callbacks(seconds):
    """Fifty callbacks in one turn of the loop; the last one tells."""
    loop = asyncio.get_running_loop()
    told, pieces = loop.create_future(), []

    def piece():
        pieces.append(blocks.callback_piece(seconds / PIECES))
        if len(pieces) == PIECES:
            began, ended = pieces[0][0], pieces[-1][1]
            log("callbacks", blocks.callback_piece, began, ended, PIECES)
            told.set_result(None)

    for _ in range(PIECES):
        loop.call_soon(piece)
    await told


async def stall_in_plain_callback(seconds):
    """A timer's callback that belongs to no task."""
    loop = asyncio.get_running_loop()
    told = loop.create_future()

    def plain_callback():
        function = blocks.block_plain_callback
        log("plain_callback", function, *function(seconds))
        told.set_result(None)

    due = loop.time() + 0.01
    state["asked_ns"] = int(due * 1e9)
    loop.call_at(due, plain_callback)
    await told


async def stall(kind, seconds):
    """One stall of a kind."""
    state["asked_ns"] = time.monotonic_ns()
    if kind == "callbacks":
        await stall_in_callbacks(seconds)
    elif kind == "plain_callback":
        await stall_in_plain_callback(seconds)
    else:
        name = "blocker-" + kind
        await asyncio.create_task(HANDLERS[kind](seconds), name=name)


async def drive(options, kinds, go):
    """Stall and rest in turn."""
    dice = random.Random(options.seed)
    if options.hold:
        await go.wait()
    index = 0
    while options.count is None or index < options.count:
        began = time.monotonic()
        seconds = options.duration or dice.uniform(0.05, 1.5)
        await asyncio.sleep(dice.uniform(0.05, 0.3) if not options.period else 0.05)
        await stall(kinds[index % len(kinds)], seconds)
        stalls[-1]["over_ns"] = time.monotonic_ns()
        index += 1
        if options.period:
            rest = began + options.period - time.monotonic()
            await asyncio.sleep(max(rest, 0.01))
    state["finished"] = True
    await truth.forever()


async def background(index):
    """A healthy task."""
    while True:
        await asyncio.sleep(0.01 + index / 200)
        sum(range(100))


def unexplained(gap):
    """Whether no logged stall overlaps a pause."""
    began, ended = gap["began_ns"], gap["ended_ns"]
    overlapping = (s for s in stalls if s["began_ns"] < ended and s["ended_ns"] > began)
    return next(overlapping, None) is None


def take_truth():
    """All that happened so far."""
    return {
        "pid": os.getpid(),
        "stalls": stalls,
        "gaps": [gap for gap in heartbeat.named_gaps() if unexplained(gap)],
        "finished": state["finished"],
        "now_ns": time.monotonic_ns(),
        "loops": [truth.describe_loop(loop, native) for loop, native, _ in truth.loops],
    }


async def main(options):
    """Prepare, then stall."""
    kinds = KINDS if options.kind == "mixed" else [options.kind]
    blocks.prepare(kinds)
    lines.update((each, blocks.blocking_lines(each)) for each in FUNCTIONS)
    loop = truth.adopt_loop()
    go = asyncio.Event()
    tasks = [truth.spawn("heartbeat", heartbeat.beat(), "heartbeat")]
    for index in range(5):
        name = "background-%d" % index
        tasks.append(truth.spawn("background", background(index), name))

    def begin():
        loop.call_soon_threadsafe(go.set)
        return {"go": True}

    truth.serve({"kinds": kinds}, {"truth": take_truth, "go": begin}, steady=False)
    await drive(options, kinds, go)


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS + ["mixed"])
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--period", type=float)
    parser.add_argument("--duration", type=float)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hold", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
