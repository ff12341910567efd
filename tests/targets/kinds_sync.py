"""Scenarios of `kinds.py`: sleeping, futures and the synchronisation primitives."""

import asyncio

import truth

PRIMITIVES = {}


async def hold_lock(lock):
    """Takes the lock and never gives it back."""
    async with lock:
        await truth.forever()


async def wait_lock(lock):
    """Waits for the lock in `async with`."""
    async with lock:
        pass


async def acquire_lock(lock):
    """Waits for the lock in a plain call."""
    await lock.acquire()


async def wait_semaphore(semaphore):
    """Waits for a semaphore whose value is zero."""
    async with semaphore:
        pass


async def wait_event(event):
    """Waits for an event that is never set."""
    await event.wait()


async def wait_condition(condition):
    """Waits to be notified."""
    async with condition:
        await condition.wait()


async def wait_predicate(condition):
    """Waits until a predicate holds, which it never does."""
    async with condition:
        await condition.wait_for(lambda: False)


async def get_from(queue):
    """Waits for an item of an empty queue."""
    await queue.get()


async def put_into(queue):
    """Waits for room in a full queue."""
    await queue.put("one too many")


async def join_queue(queue):
    """Waits until all items are done, which they never are."""
    await queue.join()


async def sleep_long(seconds):
    """Sleeps below a coroutine of its own."""
    await asyncio.sleep(seconds)


async def wait_future(future):
    """Waits for a bare future."""
    await future


async def wait_again_and_again():
    """Waits for a future that `stall … crowd` sets, again and again."""
    while True:
        future = asyncio.get_running_loop().create_future()
        truth.woken_futures[:] = [future]
        await future


def start_queues():
    """An empty, a full and an unfinished queue."""
    empty = asyncio.Queue()
    full = asyncio.Queue(maxsize=1)
    full.put_nowait("item")
    priority = asyncio.PriorityQueue()
    PRIMITIVES.update(empty=empty, full=full, priority=priority)
    truth.spawn("queue_get", get_from(empty), "queue-get")
    truth.spawn("queue_get", get_from(empty), "queue-get-2")
    truth.spawn("queue_get", get_from(priority), "queue-priority-get")
    truth.spawn("queue_put", put_into(full), "queue-put")
    truth.spawn("queue_join", join_queue(full), "queue-join")


def start():
    """Create the tasks in the running loop."""
    loop = asyncio.get_running_loop()
    lock, event, condition = asyncio.Lock(), asyncio.Event(), asyncio.Condition()
    semaphore, bounded = asyncio.Semaphore(0), asyncio.BoundedSemaphore(1)
    bounded._value = 0
    PRIMITIVES.update(lock=lock, event=event, condition=condition)
    PRIMITIVES.update(semaphore=semaphore, bounded=bounded)
    truth.spawn("sleep", sleep_long(3600), "sleep")
    truth.spawn("sleep", asyncio.sleep(3601), "sleep-direct")
    truth.spawn("lock_owner", hold_lock(lock), "lock-owner")
    truth.spawn("lock", wait_lock(lock), "lock")
    truth.spawn("lock", acquire_lock(lock), "lock-acquire")
    truth.spawn("semaphore", wait_semaphore(semaphore), "semaphore")
    truth.spawn("semaphore", wait_semaphore(bounded), "semaphore-bounded")
    truth.spawn("event", wait_event(event), "event")
    truth.spawn("event", wait_event(event), "event-2")
    truth.spawn("condition", wait_condition(condition), "condition")
    truth.spawn("condition", wait_predicate(condition), "condition-wait-for")
    truth.spawn("future", wait_future(loop.create_future()), "future")
    truth.spawn("future", wait_again_and_again(), "woken-by-crowd")
    truth.spawn(
        "python_future", wait_future(asyncio.futures._PyFuture(loop=loop)), "py-future"
    )
    start_queues()
