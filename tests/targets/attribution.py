"""A coroutine that sleeps synchronously at a fixed beat, next to a thread that computes.

    python attribution.py [--period 1.3] [--blocked 0.3]

The time from one beginning to the next is exact in the long run, so that any stretch of
whole periods holds the same share of blocked time. Beside `quit`:

    truth   {"stalls": [{"began_ns", "ended_ns"}], "function", "line"}
"""

import argparse
import asyncio
import threading
import time

import truth

stalls = []


def call_database(seconds):
    """The mistake."""
    began = time.monotonic_ns()
    time.sleep(seconds)
    stalls.append({"began_ns": began, "ended_ns": time.monotonic_ns()})


async def handler(options):
    """Blocks once in each period."""
    due = time.monotonic()
    while True:
        due += options.period
        await asyncio.sleep(due - time.monotonic())
        call_database(options.blocked)


def burn():
    """Computes for ever."""
    while True:
        sum(range(1000))


async def main(options):
    """Start everything."""
    truth.adopt_loop()
    threading.Thread(target=burn, name="burner", daemon=True).start()
    truth.spawn("handler", handler(options), "handler")
    line = call_database.__code__.co_firstlineno + 3
    facts = {"stalls": stalls, "function": "call_database", "line": line}
    truth.serve({}, {"truth": lambda: facts}, steady=False)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--period", type=float, default=1.3)
    parser.add_argument("--blocked", type=float, default=0.3)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), False)
