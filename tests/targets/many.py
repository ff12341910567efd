"""Very many idle tasks, and a heartbeat that notices when the loop is held up.

    python many.py N [--depth 3] [--wait sleep|event|future] [--uvloop]

Each of the N tasks, named `idle-I`, rests at the end of a chain of `depth`
coroutines. Beside the protocol of `truth.py`:

    gap     {"worst_gap_ms", "worst_began_ns", "ticks"} of the 5 ms heartbeat
            since the last time it was asked
    count   {"tasks"}: how many tasks there are, heartbeat and main task included
"""

import argparse
import asyncio
import gc

import truth
from heartbeat import Heartbeat


async def rest(index, kind, event):
    """The innermost coroutine: waits in the way that was asked for."""
    if kind == "sleep":
        await asyncio.sleep(86400 + index / 1000)
    elif kind == "event":
        await event.wait()
    else:
        await asyncio.get_running_loop().create_future()


async def descend(depth, index, kind, event):
    """One link of the chain."""
    if depth > 1:
        await descend(depth - 1, index, kind, event)
    else:
        await rest(index, kind, event)


async def main(options):
    """Create the tasks, let each run once, then rest."""
    loop = truth.adopt_loop()
    tasks = [truth.label("main", asyncio.current_task())]
    event, heartbeat = asyncio.Event(), Heartbeat()
    for index in range(options.count):
        chain = descend(options.depth - 1, index, options.wait, event)
        tasks.append(loop.create_task(chain))
        tasks[-1].set_name("idle-%d" % index)
        if index % 1000 == 999:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks.append(truth.spawn("heartbeat", heartbeat.beat(), "heartbeat"))
    gc.collect()
    gc.freeze()
    await asyncio.sleep(0.2)
    heartbeat.clear()
    commands = {"gap": heartbeat.take, "count": lambda: {"tasks": len(tasks)}}
    facts = {"count": options.count, "permanent": options.count + 2}
    truth.serve(facts, commands, lambda: tasks, steady=False)
    await truth.forever()


def parse():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--wait", choices=["sleep", "event", "future"], default="sleep")
    parser.add_argument("--uvloop", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    arguments = parse()
    truth.run(lambda: main(arguments), arguments.uvloop)
