"""Scenarios of `kinds.py`: unusual awaitables, task classes, task names, done tasks."""

import asyncio
import collections.abc
import sys
import types

import truth

DONE = []
GENERATORS = []


class TracedTask(asyncio.Task):
    """A subclass of the C task with attributes of its own."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.trace_id = "trace"


class SlottedTask(asyncio.Task):
    """A subclass of a subclass-to-be: only slots, nothing more."""

    __slots__ = ("tag",)


class AwaitableObject:
    """An object whose `__await__` is a Python generator."""

    def __init__(self, future):
        self.future = future

    def __await__(self):
        result = yield from self.future
        return result


class DelegatingObject:
    """An object whose `__await__` hands on that of a coroutine."""

    def __await__(self):
        return truth.forever().__await__()


class HandMadeIterator:
    """An object whose `__await__` is an iterator but no generator."""

    def __init__(self, future):
        self.iterator = future.__await__()

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.iterator)


class HandMadeCoroutine(collections.abc.Coroutine):
    """A coroutine that is no coroutine object; tasks accept it."""

    def __init__(self, coroutine):
        self.coroutine = coroutine

    def __await__(self):
        return self.coroutine.__await__()

    def send(self, value):
        return self.coroutine.send(value)

    def throw(self, *arguments):
        return self.coroutine.throw(*arguments)

    def close(self):
        return self.coroutine.close()


@types.coroutine
def generator_based():
    """A generator-based coroutine."""
    yield from asyncio.get_running_loop().create_future()


async def await_object(value):
    """Awaits anything."""
    return await value


async def numbers():
    """An async generator that waits before its second number."""
    try:
        yield 1
        await truth.forever()
        yield 2
    except ValueError:
        await truth.forever()
    finally:
        await asyncio.sleep(7300)


async def doubled(source):
    """An async generator over another one."""
    async for number in source:
        yield 2 * number


def keep(generator):
    """Keep an async generator alive."""
    GENERATORS.append(generator)
    return generator


async def consume(generator):
    """Waits for the next number in `async for`."""
    async for _ in generator:
        pass


async def send_to(generator):
    """Waits in an explicit `asend`."""
    await generator.asend(None)
    await generator.asend(None)


async def throw_into(generator):
    """Waits in an `athrow` which the generator catches."""
    await generator.asend(None)
    await generator.athrow(ValueError())


async def close_it(generator):
    """Waits in an `aclose` whose `finally` sleeps."""
    await generator.asend(None)
    await generator.aclose()


async def next_with_default(generator):
    """Waits in `anext(generator, default)`, 3.10+."""
    await generator.asend(None)
    await anext(generator, None)  # noqa: F821


async def comprehend(generator):
    """Waits in an asynchronous comprehension."""
    return [number async for number in generator]


async def level(depth):
    """A chain of `depth` coroutines."""
    if depth > 1:
        await level(depth - 1)
    else:
        await truth.forever()


async def finish_at_once():
    """Ends without waiting."""
    return "done"


def make_closure():
    """A coroutine function with a qualname of its own."""

    class Inner:
        async def method(self):
            await truth.forever()

    return Inner().method


def start_awaitables():
    """Everything that can stand behind `await`."""
    loop = asyncio.get_running_loop()
    truth.spawn("awaitable", await_object(AwaitableObject(loop.create_future())), "obj")
    truth.spawn("awaitable", await_object(DelegatingObject()), "obj-delegating")
    truth.spawn(
        "iterator", await_object(HandMadeIterator(loop.create_future())), "obj-iterator"
    )
    truth.spawn("hand_made", HandMadeCoroutine(truth.forever()), "hand-made-coroutine")
    truth.spawn("generator_based", await_object(generator_based()), "generator-based")
    truth.spawn("deep", level(12), "deep-12")
    truth.spawn("closure", make_closure()(), "closure")
    truth.spawn("async_generator", consume(keep(numbers())), "agen")
    truth.spawn("async_generator", consume(keep(doubled(keep(numbers())))), "agen-agen")
    truth.spawn("async_generator", send_to(keep(numbers())), "agen-asend")
    truth.spawn("async_generator", throw_into(keep(numbers())), "agen-athrow")
    truth.spawn("async_generator", close_it(keep(numbers())), "agen-aclose")
    truth.spawn("async_generator", comprehend(keep(numbers())), "agen-comprehension")
    if sys.version_info >= (3, 10):
        truth.spawn("anext", next_with_default(keep(numbers())), "agen-anext-default")


def start_names():
    """Names of every string kind, and hostile ones."""
    for name in ("größe", "名前", "🐍🐍 emoji", "x" * 10000, "é" * 5000, "", 123):
        truth.spawn("name", truth.forever(), name)
    for name in ("\x1b[31mred\x1b[0m", "two\nlines\ttab", 'quote"back\\slash', "a\x00b"):
        truth.spawn("name", truth.forever(), name)
    for _ in range(4):
        truth.spawn("auto_name", level(2))


def start_classes():
    """Task classes other than `asyncio.Task`."""
    loop = asyncio.get_running_loop()
    truth.label("subclass", TracedTask(level(2), loop=loop, name="traced"))
    truth.label("subclass", TracedTask(level(2), loop=loop))
    truth.label("subclass", SlottedTask(level(2), loop=loop, name="slotted"))
    python_task = asyncio.tasks._PyTask
    waited = truth.label("python_task", python_task(level(2), loop=loop, name="py"))
    truth.label("python_task", python_task(asyncio.sleep(3700), loop=loop))
    waiting = truth.spawn("python_task", await_object(waited), "waits-for-py")
    truth.awaits(waiting, waited)
    target = truth.spawn("child", level(1), "waited-by-py")
    reverse = python_task(await_object(target), loop=loop, name="py-waits")
    truth.awaits(truth.label("python_task", reverse), target)


async def start_factory():
    """A task factory of the loop, set for a moment."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(
        lambda loop, coroutine, **keywords: TracedTask(coroutine, loop=loop, **keywords)
    )
    truth.spawn("factory", level(2))
    loop.set_task_factory(None)
    eager = getattr(asyncio, "eager_task_factory", None)
    if eager is not None:
        truth.label("eager", eager(loop, level(3), name="eager"))
        truth.label("eager", eager(loop, level(3)))
        DONE.append(eager(loop, finish_at_once(), name="eager-done"))


async def start_done():
    """Tasks that are done, yet kept: they must not be listed."""
    for number in range(5):
        DONE.append(asyncio.create_task(finish_at_once(), name="done-%d" % number))
    cancelled = asyncio.create_task(truth.forever(), name="done-cancelled")
    DONE.append(cancelled)
    await asyncio.sleep(0.01)
    cancelled.cancel()
    await asyncio.sleep(0.01)


async def start():
    """Create the tasks in the running loop."""
    start_awaitables()
    start_names()
    start_classes()
    await start_factory()
    await start_done()
