"""A task that blocks far below.

    python deep.py COROUTINES CALLS

Beside `quit`, `truth` and `stall`:

    block   "blocked", once the task `deep` sleeps synchronously at the end of COROUTINES
            coroutines `descend`, each awaiting the next, and CALLS functions `call`, each
            calling the next
"""

import argparse
import asyncio
import sys
import threading
import time

import truth

blocking = threading.Event()


def call(rest):
    """One of the functions."""
    if rest > 1:
        call(rest - 1)
    else:
        blocking.set()
        time.sleep(86400)


async def descend(rest, calls):
    """One of the coroutines."""
    if rest > 1:
        await descend(rest - 1, calls)
    else:
        call(calls)


async def main(options):
    """Wait to be told to block."""
    sys.setrecursionlimit(10000 + options.coroutines + options.calls)
    loop = truth.adopt_loop()

    def start():
        truth.spawn("deep", descend(options.coroutines, options.calls), "deep")

    def block():
        loop.call_soon_threadsafe(start)
        blocking.wait()
        # As in `truth.order_stall`: the sleep begins before this thread can go on.
        time.sleep(0.005)
        return "blocked"

    truth.serve(commands={"block": block}, steady=False)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("coroutines", type=int)
    parser.add_argument("calls", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments))
