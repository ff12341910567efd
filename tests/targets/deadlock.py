"""Tasks that wait for each other in a ring, and what hangs on them.

    python deadlock.py [--length 2]

The tasks `ring-0` … `ring-N` each await the next one, the last awaits the first.
`bystander` awaits `ring-0` and is in no ring. `left-first` and `right-first` hold one
lock each and wait for the other's, a deadlock without an edge between tasks.
Protocol and truth are those of `truth.py`; READY has the ids of the ring in order,
each awaiting the next.
"""

import argparse
import asyncio

import introspect
import truth


async def wait_for_next(ring, index):
    """Awaits the next task of the ring."""
    await ring[(index + 1) % len(ring)]


async def take_both(first, second, pause):
    """Takes one lock, lets the others run, then wants the second."""
    async with first:
        await asyncio.sleep(pause)
        async with second:
            pass


def close_ring(length):
    """Create the ring and declare its edges."""
    ring = []
    for index in range(length):
        name = "ring-%d" % index
        ring.append(truth.spawn("ring", wait_for_next(ring, index), name))
    for index, task in enumerate(ring):
        truth.awaits(task, ring[(index + 1) % length])
    return ring


async def watch(task):
    """Awaits a task of the ring from outside."""
    await task


async def main(options):
    """Create everything and rest."""
    truth.adopt_loop()
    truth.label("main", asyncio.current_task())
    ring = close_ring(options.length)
    bystander = truth.spawn("bystander", watch(ring[0]), "bystander")
    truth.awaits(bystander, ring[0])
    left, right = asyncio.Lock(), asyncio.Lock()
    truth.spawn("lock", take_both(left, right, 0.02), "left-first")
    truth.spawn("lock", take_both(right, left, 0.02), "right-first")
    await asyncio.sleep(0.1)
    truth.serve({"ring": [introspect.address(task) for task in ring]})
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--length", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments))
