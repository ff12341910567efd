"""A coroutine chain that is torn down and rebuilt all the time.

    python chain.py DEPTH [--work MICROSECONDS] [--uvloop]

The functions `level_1` … `level_DEPTH` are coroutines of their own, each awaiting
the next. The task `chain` runs `rebuild`, which enters the chain again and again,
each time to another depth k; the innermost level computes for `work` microseconds
in `spin`, in every eighth round it then awaits `sleep(0)`, in every 512th
`sleep(0.001)` (else the thread that obeys commands may never get the GIL), and all
return. A true stack of the task is, from outside in,

    rebuild, level_1, level_2, … level_k  [, spin | sleep [, __sleep0]]

with no level left out. Beside `quit` and `stall`:

    truth   {"rounds", "levels": ["level_1", …], "file", "loops", "pid"}
"""

import argparse
import asyncio
import os
import sys
import time

import truth

LEVEL = """
async def level_{number}(rest, work, pause):
    if rest > 1:
        return 1 + await {callee}(rest - 1, work, pause)
    spin(work)
    if pause is not None:
        await asyncio.sleep(pause)
    return 1
"""
state = {"rounds": 0}


def spin(microseconds):
    """Compute for a while."""
    deadline = time.monotonic_ns() + microseconds * 1000
    while time.monotonic_ns() < deadline:
        pass


def make_levels(depth):
    """Define the functions; the last one never calls on."""
    for number in range(depth, 0, -1):
        callee = "level_%d" % min(number + 1, depth)
        source = LEVEL.format(number=number, callee=callee)
        exec(compile(source, __file__, "exec"), globals())


def pause_after(rounds):
    """How long the innermost level sleeps in this round; None is not at all."""
    if rounds % 512 == 0:
        return 0.001
    return 0 if rounds % 8 == 0 else None


async def rebuild(options):
    """Enter the chain for ever, to changing depths."""
    enter = globals()["level_1"]
    while True:
        rounds = state["rounds"]
        depth = options.depth - rounds % max(1, options.depth // 2)
        reached = await enter(depth, options.work, pause_after(rounds))
        assert reached == depth
        state["rounds"] = rounds + 1


def take(options):
    """The truth."""
    return {
        "pid": os.getpid(),
        "rounds": state["rounds"],
        "levels": ["level_%d" % (number + 1) for number in range(options.depth)],
        "file": __file__,
        "loops": [truth.describe_loop(loop, native) for loop, native, _ in truth.loops],
    }


async def main(options):
    """Define the chain and run it."""
    sys.setrecursionlimit(10000 + 3 * options.depth)
    make_levels(options.depth)
    truth.adopt_loop()
    truth.spawn("chain", rebuild(options), "chain")
    commands = {"truth": lambda: take(options)}
    truth.serve({"depth": options.depth}, commands, steady=False)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("depth", type=int)
    parser.add_argument("--work", type=int, default=30)
    parser.add_argument("--uvloop", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
