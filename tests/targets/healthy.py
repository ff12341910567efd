"""A healthy, busy loop: thousands of tiny requests a second and not one stall.

    python healthy.py [--rate 5000] [--uvloop]

A hundred clients send requests at fixed times; each request is a task of its own
that goes through a queue to one of ten workers and back. Beside `quit` and `stall`:

    truth   {"gaps": [{"began_ns", "ended_ns"}], "requests", "requests_per_s",
            "worst_gap_ms", "worst_began_ns", "ticks", "loops", "pid"}; `gaps` are
            all delays above 50 ms so far (the machine's doing, CLOCK_MONOTONIC),
            the figures count from the last question on
"""

import argparse
import asyncio
import os
import time

import truth
from heartbeat import Heartbeat

CLIENTS = 100
WORKERS = 10


class Service:
    """The queue, its workers and what they have done."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.heartbeat = Heartbeat()
        self.requests = 0
        self.counted, self.since = 0, time.monotonic()

    async def work(self):
        """A worker: answers requests one by one."""
        while True:
            number, reply = await self.queue.get()
            reply.set_result(number + 1)
            self.queue.task_done()

    async def handle(self, number):
        """One request."""
        reply = asyncio.get_running_loop().create_future()
        self.queue.put_nowait((number, reply))
        await reply
        self.requests += 1

    async def client(self, index, interval):
        """Sends a request each `interval` seconds, all clients out of step."""
        due = time.monotonic() + interval * (1 + index / CLIENTS)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await asyncio.create_task(self.handle(index))
            due = max(due + interval, time.monotonic() - interval)

    def take(self):
        """The truth."""
        now = time.monotonic()
        rate = (self.requests - self.counted) / max(now - self.since, 1e-9)
        self.counted, self.since = self.requests, now
        described = [truth.describe_loop(loop, tid) for loop, tid, _ in truth.loops]
        record = {"pid": os.getpid(), "loops": described, "requests": self.requests}
        record.update(requests_per_s=rate, gaps=self.heartbeat.named_gaps())
        record.update(self.heartbeat.take())
        return record


async def main(options):
    """Start everything."""
    truth.adopt_loop()
    service = Service()
    truth.spawn("heartbeat", service.heartbeat.beat(), "heartbeat")
    for index in range(WORKERS):
        truth.spawn("worker", service.work(), "worker-%d" % index)
    for index in range(CLIENTS):
        client = service.client(index, CLIENTS / options.rate)
        truth.spawn("client", client, "client-%d" % index)
    await asyncio.sleep(0.5)
    service.take()
    truth.serve({"rate": options.rate}, {"truth": service.take}, steady=False)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--uvloop", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
