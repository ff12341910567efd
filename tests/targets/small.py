"""A few tasks of many kinds: a program that is small when its memory is recorded.

    python small.py

Protocol and truth are those of `truth.py`. A second loop runs in the thread
`second-loop`.
"""

import asyncio
import threading

import truth


class TracedTask(asyncio.Task):
    """A task class of the program's own."""


async def numbers():
    """An async generator that waits."""
    yield 1
    await truth.forever()


async def consume(generator):
    """Waits in `async for`."""
    async for _ in generator:
        pass


async def leaf(parent):
    """A child of a gather or of a group."""
    truth.child_of(parent)
    await truth.forever()


async def gathers():
    """Waits for two children."""
    me = asyncio.current_task()
    await asyncio.gather(leaf(me), leaf(me))


async def groups():
    """Waits for a child in a TaskGroup."""
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(asyncio.current_task()), name="member")


async def shields():
    """Waits for what is shielded."""
    task = truth.spawn("child", leaf(asyncio.current_task()), "protected")
    await asyncio.shield(task)


async def takes(lock):
    """Wants a lock that is taken."""
    async with lock:
        pass


async def second(started):
    """The main task of the second loop."""
    truth.adopt_loop()
    truth.label("second", asyncio.current_task())
    started.set()
    await asyncio.Event().wait()


def start_second_loop():
    """A loop in a thread of its own."""
    started = threading.Event()
    thread = threading.Thread(
        target=lambda: asyncio.run(second(started)), name="second-loop", daemon=True
    )
    thread.start()
    started.wait()


async def main():
    """Starts one task of each kind."""
    loop = truth.adopt_loop()
    truth.label("main", asyncio.current_task())
    start_second_loop()
    lock = asyncio.Lock()
    await lock.acquire()
    generator = numbers()
    truth.spawn("sleep", asyncio.sleep(3600), "sleeper \u00e9\U0001f40d \x1b[31m")
    truth.spawn("auto", truth.forever())
    truth.spawn("lock", takes(lock), "wants-lock")
    truth.spawn("queue", asyncio.Queue().get(), "wants-item")
    truth.spawn("async_generator", consume(generator), "consumer")
    truth.spawn("gather", gathers(), "gatherer")
    truth.spawn("shield", shields(), "shielder")
    truth.label("subclass", TracedTask(truth.forever(), loop=loop)).set_name("traced")
    python_task = asyncio.tasks._PyTask(truth.forever(), loop=loop, name="python-task")
    truth.label("python", python_task)
    if hasattr(asyncio, "TaskGroup"):
        truth.spawn("group", groups(), "grouper")
    truth.serve()
    await truth.forever()


if __name__ == "__main__":
    truth.run(main)
