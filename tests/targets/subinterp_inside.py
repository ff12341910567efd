"""What `subinterp.py` runs in its second interpreter; speaks through two pipes."""

import asyncio
import os
import sys

import truth


async def child():
    """Something to wait for."""
    await truth.forever()


async def parent():
    """Waits for two children."""
    left = truth.spawn("child", child(), "inside-left")
    right = truth.spawn("child", child(), "inside-right")
    truth.awaits(asyncio.current_task(), left, right)
    await asyncio.gather(left, right)


async def main():
    """The tasks of the second interpreter."""
    truth.adopt_loop()
    truth.label("main", asyncio.current_task())
    truth.spawn("sleep", asyncio.sleep(3700), "inside-sleep")
    truth.spawn("gather", parent(), "inside-gather")
    truth.spawn("auto_name", child())
    truth.serve(daemon=False)
    await truth.forever()


def run(commands, answers):
    """Take the pipes for stdin and stdout and run the loop."""
    sys.stdin = os.fdopen(commands, encoding="utf-8")
    sys.stdout = os.fdopen(answers, "w", encoding="utf-8")
    truth.run(main)
