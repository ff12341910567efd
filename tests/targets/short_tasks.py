"""Tasks that end as soon as they have begun, so that the next lie where they lay.

    python short_tasks.py [--uvloop]

There are KINDS kinds of them. A task of kind k runs `work_k`, which awaits `inner_k`;
both call `spin_k`. It is called `given_k` if k is odd, and has no name of its own
otherwise. Eight at a time are gathered by the task `maker`. So a true stack names one
kind alone. Beside `quit`:

    truth   {"rounds", "pid"}
"""

import asyncio
import os
import random
import sys

import truth

KINDS = 24
KIND = """
def spin_{kind}(count):
    total = 0
    for number in range(count):
        total += number
    return total

async def inner_{kind}(count):
    spin_{kind}(count)
    await asyncio.sleep(0)
    spin_{kind}(count)

async def work_{kind}(count):
    await inner_{kind}(count)
    spin_{kind}(count)
"""
state = {"rounds": 0}


def make_kinds():
    """Define the functions."""
    for kind in range(KINDS):
        exec(compile(KIND.format(kind=kind), __file__, "exec"), globals())


def make_task(choice):
    """Start a task of some kind, of some length."""
    kind = choice.randrange(KINDS)
    coroutine = globals()["work_%d" % kind](choice.choice((50, 300, 1500)))
    task = asyncio.ensure_future(coroutine)
    if kind % 2:
        task.set_name("given_%d" % kind)
    return task


async def make():
    """Start tasks for ever; now and then the thread that obeys commands gets its turn."""
    choice = random.Random(1)
    while True:
        await asyncio.gather(*(make_task(choice) for _ in range(8)))
        state["rounds"] += 1
        if state["rounds"] % 512 == 0:
            await asyncio.sleep(0.001)


async def main():
    """Define the kinds and run them."""
    make_kinds()
    truth.adopt_loop()
    truth.spawn("maker", make(), "maker")
    commands = {"truth": lambda: {"pid": os.getpid(), "rounds": state["rounds"]}}
    truth.serve({}, commands, steady=False)
    await truth.forever()


if __name__ == "__main__":
    truth.run(main, "--uvloop" in sys.argv)
