"""A loop that does next to nothing: a few timers, now and then a short callback.

    python idle.py [--uvloop]

Beside `quit` and `stall`:

    truth   {"gaps": [{"began_ns", "ended_ns"}], "loops", "tasks", "pid"}; `gaps`
            are the wakeups that came more than 50 ms late (CLOCK_MONOTONIC)
"""

import argparse
import asyncio

import truth
from heartbeat import Heartbeat

PERIODS = (0.7, 1.3, 2.9, 60.0, 3600.0)


async def wake_up(period):
    """A task that only sleeps."""
    while True:
        await asyncio.sleep(period)


def call_again(loop):
    """A plain callback that sets its own timer again."""
    loop.call_later(1.9, call_again, loop)


async def main(options):
    """Start everything and rest."""
    loop = truth.adopt_loop()
    heartbeat = Heartbeat(1.0)
    tasks = [truth.label("main", asyncio.current_task())]
    tasks.append(truth.spawn("heartbeat", heartbeat.beat(), "heartbeat"))
    for period in PERIODS:
        name = "sleeper-%g" % period
        tasks.append(truth.spawn("sleeper", wake_up(period), name))
    loop.call_later(7200, print, "never")
    call_again(loop)

    def take():
        record = truth.take_truth(tasks)
        record["gaps"] = heartbeat.named_gaps()
        return record

    truth.serve(commands={"truth": take}, steady=False)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uvloop", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
