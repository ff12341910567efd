"""A busy loop whose tasks come and go while they are read.

    python churn.py N [--uvloop]

N permanent tasks `request-I` each await a gather of two fresh sleeps of 10 to
19 ms, again and again, so that between N and 3 N tasks exist beside the main task
and the `heartbeat`. Beside `quit` and `stall` of `truth.py`:

    truth   {"permanent": [{"id", "name"}], "loops": […], "pid"}: these tasks
            must be in every snapshot
    count   {"alive_base", "tasks"}: the permanent tasks, and how many the
            interpreter has registered now (done ones that still exist included)
    stats   {"seconds", "requests_per_s", "worst_gap_ms", "worst_began_ns",
            "ticks"} since the last time it was asked
"""

import argparse
import asyncio
import os
import time

import introspect
import truth
from heartbeat import Heartbeat


class Counter:
    """Counts requests between two questions."""

    def __init__(self, heartbeat):
        self.requests = 0
        self.since = time.monotonic()
        self.heartbeat = heartbeat

    def take(self):
        """The figures since the last call."""
        now = time.monotonic()
        seconds = now - self.since
        figures = {"seconds": seconds, "requests_per_s": self.requests / seconds}
        figures.update(self.heartbeat.take())
        self.requests, self.since = 0, now
        return figures


async def request(index, counter):
    """One endless client."""
    first = (10 + index % 10) / 1000
    second = (10 + (index * 7 + 3) % 10) / 1000
    while True:
        await asyncio.gather(asyncio.sleep(first), asyncio.sleep(second))
        counter.requests += 1


def registered():
    """How many tasks the interpreter knows of; cheap up to 3.13."""
    tasks = asyncio.tasks
    for name in ("_all_tasks", "_scheduled_tasks"):
        known = getattr(tasks, name, None)
        if known is not None and not hasattr(asyncio, "future_add_to_awaited_by"):
            return len(known) + len(getattr(tasks, "_eager_tasks", ()))
    return len(asyncio.all_tasks(truth.loops[0][0]))


def permanent_truth(permanent):
    """The tasks that are always there."""
    named = [(introspect.address(task), task.get_name()) for task in permanent]
    return {
        "pid": os.getpid(),
        "loops": [truth.describe_loop(loop, native) for loop, native, _ in truth.loops],
        "permanent": [{"id": identity, "name": name} for identity, name in named],
    }


async def main(options):
    """Start everything and rest."""
    truth.adopt_loop()
    heartbeat = Heartbeat()
    counter = Counter(heartbeat)
    permanent = [asyncio.current_task()]
    permanent.append(truth.spawn("heartbeat", heartbeat.beat(), "heartbeat"))
    for index in range(options.count):
        task = truth.spawn("request", request(index, counter), "request-%d" % index)
        permanent.append(task)
    await asyncio.sleep(0.5)
    counter.take()
    commands = {
        "truth": lambda: permanent_truth(permanent),
        "count": lambda: {"alive_base": len(permanent), "tasks": registered()},
        "stats": counter.take,
    }
    truth.serve({"alive_base": len(permanent)}, commands, steady=False)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--uvloop", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
