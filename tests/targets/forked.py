"""A child process that was forked while its parent's loop was running.

    python forked.py

A task of the parent forks and both go on; the child never runs the loop again but
blocks in `hold` below the task that forked it. Everything of the parent's tasks is
still in the child's memory, though 3.14 and later forget there that they are tasks.
The child alone answers, in the protocol of `truth.py`: the pid of READY is that of
the child. Besides, `known` prints {"tasks": [name], "running": bool}: the tasks that
the child's asyncio still knows, and whether it takes a loop for running.
"""

import asyncio
import os
import time

import truth


def hold():
    """Where the child stays."""
    loop = truth.loops[0][0]
    known = {
        "tasks": sorted(task.get_name() for task in asyncio.all_tasks(loop)),
        "running": asyncio._get_running_loop() is not None,
    }
    truth.serve(commands={"known": lambda: known}, steady=False)
    time.sleep(1e6)


async def fork_here():
    """The task that forks; the parent sleeps on until the child has ended."""
    if os.fork() == 0:
        hold()
    os.wait()
    os._exit(0)


async def main():
    """A few tasks at rest, and the one that forks."""
    truth.adopt_loop()
    truth.label("main", asyncio.current_task())
    for number in range(3):
        truth.spawn("sleep", asyncio.sleep(3600 + number), "inherited-%d" % number)
    await asyncio.sleep(0.05)
    truth.spawn("fork", fork_here(), "fork")
    await truth.forever()


if __name__ == "__main__":
    truth.run(main)
