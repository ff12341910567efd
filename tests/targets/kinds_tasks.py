"""Scenarios of `kinds.py`: tasks that wait for other tasks, with the edges declared."""

import asyncio

import truth


async def leaf(parent=None):
    """A child that never ends; declares its edge itself when it is told its parent."""
    if parent is not None:
        truth.child_of(parent)
    await truth.forever()


def child(name):
    """A task that others wait for."""
    return truth.spawn("child", leaf(), name)


def declare(*children):
    """The current task awaits these."""
    truth.awaits(asyncio.current_task(), *children)


async def await_task(task):
    """Waits for another task."""
    declare(task)
    await task


async def await_gather():
    """Waits for two tasks and for a coroutine that gather wraps."""
    left, right = child("gather-left"), child("gather-right")
    declare(left, right)
    await asyncio.gather(left, right, leaf(asyncio.current_task()))


async def await_nested_gather():
    """Waits for a gather in a gather in a gather."""
    me = asyncio.current_task()
    deep = asyncio.gather(child_coroutine("nested-a", me), leaf(me))
    middle = asyncio.gather(deep, child_coroutine("nested-b", me))
    await asyncio.gather(middle, leaf(me))


async def child_coroutine(name, parent):
    """A leaf which names its own task."""
    asyncio.current_task().set_name(name)
    await leaf(parent)


async def await_wait(return_when):
    """Waits with `asyncio.wait`."""
    tasks = [child("wait-1"), child("wait-2")]
    declare(*tasks)
    await asyncio.wait(tasks, timeout=3600, return_when=return_when)


async def await_wait_for_coroutine():
    """Up to 3.11 wait_for makes a task of the coroutine, later it does not."""
    await asyncio.wait_for(leaf(asyncio.current_task()), 3600)


async def await_wait_for_task():
    """wait_for with a task of its own."""
    task = child("wait-for-child")
    declare(task)
    await asyncio.wait_for(task, 3600)


async def await_timeout():
    """A bare future below `asyncio.timeout`."""
    async with asyncio.timeout(3600):
        await truth.forever()


async def await_group():
    """Waits at the end of a TaskGroup."""
    async with asyncio.TaskGroup() as group:
        me = asyncio.current_task()
        group.create_task(leaf(me), name="group-1")
        group.create_task(leaf(me), name="group-2")


async def await_inside_group():
    """Waits for something else while a TaskGroup is open."""
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(asyncio.current_task()), name="group-open-1")
        await truth.forever()


async def await_nested_groups():
    """A TaskGroup in a TaskGroup, and a child with a group of its own."""
    me = asyncio.current_task()
    async with asyncio.TaskGroup() as outer:
        outer.create_task(leaf(me), name="outer-1")
        outer.create_task(group_child(me), name="outer-2")
        async with asyncio.TaskGroup() as inner:
            inner.create_task(leaf(me), name="inner-1")


async def group_child(parent):
    """A child of a group that owns a group."""
    truth.child_of(parent)
    await await_group()


async def await_as_completed():
    """Waits for whichever comes first."""
    tasks = [child("completed-1"), child("completed-2")]
    declare(*tasks)
    for first in asyncio.as_completed(tasks):
        await first


async def iterate_as_completed():
    """The asynchronous iterator of 3.13+."""
    tasks = [child("completed-3"), child("completed-4")]
    declare(*tasks)
    async for first in asyncio.as_completed(tasks):
        await first


async def await_shield():
    """Waits for a shielded task."""
    task = child("shielded")
    declare(task)
    await asyncio.shield(task)


async def await_shielded_gather():
    """Waits for a shielded gather: three futures between the tasks."""
    me = asyncio.current_task()
    await asyncio.shield(asyncio.gather(leaf(me), leaf(me)))


def start():
    """Create the tasks in the running loop."""
    popular = child("popular")
    for number in range(3):
        truth.spawn("task", await_task(popular), "fan-%d" % number)
    truth.spawn("task", await_task(truth.spawn("child", await_task(child("end")))))
    truth.spawn("gather", await_gather(), "gather")
    truth.spawn("gather", await_nested_gather(), "gather-nested")
    truth.spawn("wait", await_wait(asyncio.ALL_COMPLETED), "wait-all")
    truth.spawn("wait", await_wait(asyncio.FIRST_COMPLETED), "wait-first")
    truth.spawn("wait_for", await_wait_for_coroutine(), "wait-for-coroutine")
    truth.spawn("wait_for", await_wait_for_task(), "wait-for-task")
    truth.spawn("as_completed", await_as_completed(), "as-completed")
    truth.spawn("shield", await_shield(), "shield")
    truth.spawn("shield", await_shielded_gather(), "shield-gather")
    if hasattr(asyncio, "TaskGroup"):
        truth.spawn("timeout", await_timeout(), "timeout")
        truth.spawn("task_group", await_group(), "group")
        truth.spawn("task_group_open", await_inside_group(), "group-open")
        truth.spawn("task_group", await_nested_groups(), "group-nested")
    if hasattr(type(asyncio.as_completed([])), "__aiter__"):
        truth.spawn("as_completed", iterate_as_completed(), "as-completed-async")
