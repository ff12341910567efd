"""The protocol that all programs under test speak, and the truth they tell.

A program adopts its loops, declares who awaits whom, and calls `serve`. A plain
daemon thread then waits until every task is at rest, prints one line
`READY {json}` and obeys commands, one a line, on stdin:

    truth                  one line of JSON: loops, threads and tasks
    stall SECONDS [crowd]  the first loop sleeps synchronously in the task `stall`;
                           `STALLED` is printed as soon as it does; with `crowd`
                           one task is woken and one is created but not started
    quit                   ends the program; the end of stdin does so too

The thread never uses the loop to answer, so it answers during a stall as well.
"""

import asyncio
import gc
import json
import os
import sys
import threading
import time
import traceback

import introspect

POLL_SECONDS = 0.02
STEADY_POLLS = 5
STEADY_TIMEOUT = 60.0

loops = []
edges = []
scenarios = {}
woken_futures = []
stalling = threading.Event()


class Line(str):
    """What a further command returns in order to print it as it is, not as JSON."""


def adopt_loop():
    """Register the running loop; call it inside each loop, the first one first."""
    loop = asyncio.get_running_loop()
    loops.append((loop, threading.get_native_id(), threading.get_ident()))
    return loop


def awaits(parent, *children):
    """Declare that a task awaits others, directly or through plain futures."""
    edges.extend((parent, child) for child in children)


def child_of(parent):
    """Declare that the current task is awaited by `parent`, unless it *is* the parent.

    For coroutines that a library function may or may not wrap in a task.
    """
    current = asyncio.current_task()
    if current is not parent:
        awaits(parent, current)
        scenarios.setdefault(current, "child")


def spawn(scenario, coroutine, name=None):
    """Create a task of the running loop and label it; a name of None stays automatic."""
    loop = asyncio.get_running_loop()
    if name is None:
        task = loop.create_task(coroutine)
    else:
        task = asyncio.create_task(coroutine, name=name)
    return label(scenario, task)


def label(scenario, task):
    """Remember what a task shows; keeps the task alive."""
    scenarios[task] = scenario
    return task


def emit(line):
    """Print one line and flush it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def describe_loop(loop, native_id):
    """The truth about one loop; None where uvloop does not publish a figure."""
    ready = getattr(loop, "_ready", None)
    timers = getattr(loop, "_scheduled", None)
    return {
        "id": introspect.address(loop),
        "class": type(loop).__name__,
        "module": type(loop).__module__,
        "thread": native_id,
        "ready": None if ready is None else len(ready),
        "timers": None if timers is None else len(timers),
        "running": loop.is_running(),
    }


def take_truth(tasks):
    """Everything that the program knows of itself, as a JSON value."""
    tasks = list(tasks)
    threads = {loop: ident for loop, _, ident in loops}
    current = {loop: asyncio.current_task(loop) for loop in threads}
    awaiters = {}
    for parent, child in edges:
        if not parent.done():
            awaiters.setdefault(child, set()).add(introspect.address(parent))
    records = []
    for task in tasks:
        loop = task._loop
        record = introspect.describe_task(task, current.get(loop), threads.get(loop))
        record["scenario"] = scenarios.get(task)
        record["awaited_by"] = sorted(awaiters.get(task, ()))
        records.append(record)
    return {
        "pid": os.getpid(),
        "python": list(sys.version_info[:3]),
        "loops": [describe_loop(loop, native) for loop, native, _ in loops],
        "threads": [
            {"name": thread.name, "native_id": thread.native_id}
            for thread in threading.enumerate()
        ],
        "tasks": records,
    }


def block_for(seconds):
    """The plain function that holds the loop."""
    task = asyncio.current_task()
    introspect.top_frames[task] = sys._getframe()
    stalling.set()
    time.sleep(seconds)
    del introspect.top_frames[task]


async def stall_inner(seconds):
    """The inner coroutine of the stalling task."""
    block_for(seconds)


async def stall_loop(seconds):
    """The outer coroutine of the stalling task."""
    await stall_inner(seconds)


async def never_started():
    """A coroutine whose task is created during a stall, so it has not run yet."""
    await asyncio.sleep(0)


def start_stall(seconds, with_crowd):
    """Runs in the loop: create the stalling task, and runnable tasks if asked."""
    label("stall", asyncio.create_task(stall_loop(seconds), name="stall"))
    if with_crowd:
        label("not_started", asyncio.create_task(never_started(), name="not-started"))
        for future in woken_futures:
            if not future.done():
                future.set_result(None)


def at_rest(tasks):
    """Whether each task waits for a future that is not done."""
    return all(introspect.state_of(task, None) == "waiting" for task in tasks)


def wait_until_steady(list_tasks):
    """Return once the same tasks were at rest in several polls; else end the program."""
    deadline = time.monotonic() + STEADY_TIMEOUT
    previous, calm = None, 0
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        tasks = list(list_tasks())
        seen = {id(task) for task in tasks}
        calm = calm + 1 if seen == previous and at_rest(tasks) else 0
        previous = seen
        if calm >= STEADY_POLLS:
            return
    restless = [repr(t) for t in tasks if introspect.state_of(t, None) != "waiting"]
    emit("FAILED " + json.dumps(restless))
    os._exit(3)


def order_stall(seconds, crowded):
    """Make the first loop stall; return only when its thread is inside the sleep.

    The flag is set one call before `time.sleep`, and this thread cannot go on until
    that call has given up the GIL, so a short pause is enough.
    """
    stalling.clear()
    loops[0][0].call_soon_threadsafe(start_stall, seconds, crowded)
    stalling.wait()
    time.sleep(0.005)
    emit("STALLED")


def obey(line, commands, list_tasks):
    """Carry out one command of the harness."""
    words = line.split()
    if not words:
        return
    if words[0] == "quit":
        os._exit(0)
    if words[0] in commands:
        answer = commands[words[0]](*words[1:])
        emit(answer if isinstance(answer, Line) else json.dumps(answer))
    elif words[0] == "truth":
        emit(json.dumps(take_truth(list_tasks())))
    elif words[0] == "stall":
        order_stall(float(words[1]), "crowd" in words[2:])
    else:
        emit("UNKNOWN " + words[0])


def run_commands(ready, commands, list_tasks, steady):
    """The body of the thread that answers."""
    if steady:
        wait_until_steady(list_tasks)
    facts = {"pid": os.getpid(), "python": list(sys.version_info[:3])}
    facts["loops"] = [introspect.address(loop) for loop, _, _ in loops]
    facts.update(ready or {})
    emit("READY " + json.dumps(facts))
    for line in sys.stdin:
        obey(line, commands, list_tasks)
    os._exit(0)


def serve(
    ready=None,
    commands=None,
    list_tasks=introspect.pending_tasks,
    steady=True,
    daemon=True,
):
    """Start the answering thread.

    `ready` adds to the READY line; `commands` maps further words to functions
    whose result is printed as JSON; `list_tasks` names the tasks of the truth;
    `steady=False` prints READY at once, for programs that are never at rest;
    `daemon=False` is for sub-interpreters, which have no daemon threads.
    """
    gc.collect()
    arguments = (ready, commands or {}, list_tasks, steady)
    thread = threading.Thread(
        target=run_commands, args=arguments, name="truth", daemon=daemon
    )
    thread.start()
    return thread


async def forever():
    """Wait for a future that nobody ever sets."""
    await asyncio.get_running_loop().create_future()


def run(main, uvloop=False):
    """Run a coroutine function as the program; threads at work do not delay its end."""
    try:
        run_loop(main, uvloop)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(4)
    os._exit(0)


def run_loop(main, uvloop):
    """Run a coroutine function on a new stock loop, or on uvloop."""
    if not uvloop:
        return asyncio.run(main())
    import uvloop as uvloop_module

    if sys.version_info >= (3, 11):
        with asyncio.Runner(loop_factory=uvloop_module.new_event_loop) as runner:
            return runner.run(main())
    loop = uvloop_module.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(main())
