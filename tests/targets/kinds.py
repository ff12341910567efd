"""At least 40 tasks at rest, one or more for every way in which a task can wait.

    python kinds.py [--uvloop] [--spin]

Two loops run in two threads: the main one (stock, or uvloop with `--uvloop`) and
a stock one in the thread `second-loop`. `--spin` adds a task that awaits
`sleep(0)` for ever, which makes the first loop busy and is therefore off by
default. The protocol and the truth are those of `truth.py`; the declared edges
follow CPython 3.14 (the children of a TaskGroup are awaited by its owner from
their creation on).

The scenarios live in `kinds_sync`, `kinds_tasks`, `kinds_io` and `kinds_odd`.
"""

import argparse
import asyncio
import threading

import kinds_io
import kinds_odd
import kinds_sync
import kinds_tasks
import truth


async def spinner():
    """Never waits for anything, so the loop never rests."""
    while True:
        await asyncio.sleep(0)


async def second_leaf(event):
    """The innermost coroutine of the second loop's tasks."""
    await event.wait()


async def second_middle(event):
    """One more coroutine in between."""
    await second_leaf(event)


async def second_main(started):
    """The main task of the second loop: waits for two children of its own."""
    truth.adopt_loop()
    event = asyncio.Event()
    truth.spawn("second_sleep", asyncio.sleep(7200), "second-sleep")
    truth.spawn("second_auto", second_middle(event))
    left = truth.spawn("second_child", second_middle(event), "second-left")
    right = truth.spawn("second_child", asyncio.sleep(7201), "second-right")
    truth.label("second_main", asyncio.current_task())
    truth.awaits(asyncio.current_task(), left, right)
    started.set()
    await asyncio.gather(left, right)


def start_second_loop():
    """Run the second loop in a thread of its own and wait until it is set up."""
    started = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(second_main(started)),
        name="second-loop",
        daemon=True,
    )
    thread.start()
    started.wait()


async def main(options):
    """Set up all scenarios and rest."""
    truth.adopt_loop()
    truth.label("main", asyncio.current_task())
    start_second_loop()
    kinds_sync.start()
    kinds_tasks.start()
    await kinds_io.start()
    await kinds_odd.start()
    if options.spin:
        truth.spawn("spin", spinner(), "spinner")
    truth.serve({"uvloop": options.uvloop}, steady=not options.spin)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--spin", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
