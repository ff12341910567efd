"""Small programs about who awaits whom, in the manner of CPython's own examples.

    python edges.py SCENARIO

SCENARIO is one of the keys of `SCENARIOS`. Every task has a name of its own. Where
the Python at hand lacks what the scenario needs, the program prints
`UNSUPPORTED SCENARIO` and ends with 2. Protocol and truth are those of `truth.py`.
"""

import asyncio
import sys

import introspect
import truth


async def rest(parent=None):
    """Never ends; declares who awaits it."""
    if parent is not None:
        truth.child_of(parent)
    await truth.forever()


def current():
    """The task that asks."""
    return asyncio.current_task()


async def gather_two():
    """Two coroutines and a task in one gather."""
    steep = truth.spawn("child", rest(), "steep")
    truth.awaits(current(), steep)
    await asyncio.gather(named("boil", current()), named("pour", current()), steep)


async def named(name, parent):
    """A coroutine that names the task it is run in."""
    truth.child_of(parent)
    current().set_name(name)
    await rest()


async def gather_nested():
    """Gathers in gathers, each level with a task of its own."""
    me = current()
    inner = asyncio.gather(named("deep-1", me), named("deep-2", me))
    await asyncio.gather(inner, named("flat", me), gather_branch(me))


async def gather_branch(parent):
    """A child of a gather that gathers."""
    truth.child_of(parent)
    current().set_name("branch")
    await asyncio.gather(named("leaf-1", current()), named("leaf-2", current()))


async def step(parent, dish):
    """One step of a recipe."""
    truth.child_of(parent)
    await rest()


async def course(parent, dishes):
    """A course: all its dishes at the same time."""
    truth.child_of(parent)
    async with asyncio.TaskGroup() as group:
        for dish in dishes:
            group.create_task(step(current(), dish), name=dish)


async def menu():
    """Groups of groups of tasks."""
    async with asyncio.TaskGroup() as group:
        me = current()
        group.create_task(course(me, ["soup", "bread"]), name="starter")
        group.create_task(course(me, ["rice", "beans", "salad"]), name="main-course")


async def group_one():
    """One group."""
    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(rest(current()), name="member-%d" % number)


async def group_in_group():
    """Two groups, one inside the other, in the same task."""
    async with asyncio.TaskGroup() as outer:
        outer.create_task(rest(current()), name="outer-member")
        async with asyncio.TaskGroup() as inner:
            inner.create_task(rest(current()), name="inner-member")


async def pages(task):
    """An async generator that awaits a task before its second page."""
    yield 1
    await task
    yield 2


async def lines(source):
    """An async generator over another one."""
    async for page in source:
        yield page


async def async_generators():
    """A consumer of nested async generators at whose end a task is awaited."""
    printer = truth.spawn("child", rest(), "printer")
    truth.awaits(current(), printer)
    async for _ in lines(pages(printer)):
        pass


async def eager_tasks():
    """Tasks that ran eagerly up to their first wait, in a gather."""
    loop, me = asyncio.get_running_loop(), current()
    factory = asyncio.eager_task_factory
    eager = [factory(loop, rest(me), name="eager-%d" % number) for number in range(3)]
    nested = factory(loop, gather_branch(me))
    await asyncio.gather(*eager, nested)


async def racer(parent, name):
    """One competitor of the race."""
    current().set_name(name)
    me, racing = current(), introspect.suspended_stack(parent.get_coro())
    waits_with = racing[0][0] if racing else ""
    if sys.version_info >= (3, 14) or (waits_with == "_wait" and name == "racer-0"):
        truth.child_of(parent)
    truth.scenarios.setdefault(me, "racer")
    await rest()


async def staggered():
    """A staggered race. Up to 3.13 only the first racer hangs on a future of the owner."""
    from asyncio.staggered import staggered_race

    me = current()
    racers = [lambda number=n: racer(me, "racer-%d" % number) for n in range(3)]
    await staggered_race(racers, 0.01)


async def wait_any():
    """`asyncio.wait` for the first of three."""
    tasks = [truth.spawn("child", rest(), "any-%d" % number) for number in range(3)]
    truth.awaits(current(), *tasks)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def shielded():
    """A shielded gather."""
    me = current()
    await asyncio.shield(asyncio.gather(named("inside-1", me), named("inside-2", me)))


async def completed():
    """`as_completed` over two tasks."""
    tasks = [truth.spawn("child", rest(), "soon-%d" % number) for number in range(2)]
    truth.awaits(current(), *tasks)
    for first in asyncio.as_completed(tasks):
        await first


async def follow(task):
    """Awaits one task."""
    await task


async def diamond():
    """Two tasks that await the same third one, both awaited by a fourth."""
    base = truth.spawn("child", rest(), "base")
    left = truth.spawn("child", follow(base), "left")
    right = truth.spawn("child", follow(base), "right")
    truth.awaits(left, base)
    truth.awaits(right, base)
    truth.awaits(current(), left, right)
    await asyncio.gather(left, right)


NEEDS_GROUPS, NEEDS_EAGER = "TaskGroup", "eager_task_factory"
SCENARIOS = {
    "gather": (gather_two, None),
    "gather_nested": (gather_nested, None),
    "group": (group_one, NEEDS_GROUPS),
    "group_in_group": (group_in_group, NEEDS_GROUPS),
    "menu": (menu, NEEDS_GROUPS),
    "async_generators": (async_generators, None),
    "eager": (eager_tasks, NEEDS_EAGER),
    "staggered": (staggered, None),
    "wait": (wait_any, None),
    "shield": (shielded, None),
    "as_completed": (completed, None),
    "diamond": (diamond, None),
}


async def main(scenario):
    """Run one scenario in a task named after it."""
    truth.adopt_loop()
    truth.label("main", current()).set_name("main")
    owner = truth.spawn("owner", SCENARIOS[scenario][0](), scenario)
    truth.awaits(current(), owner)
    await asyncio.sleep(0.2)
    truth.serve({"scenario": scenario})
    await owner


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in SCENARIOS:
        sys.exit("usage: edges.py " + "|".join(SCENARIOS))
    needed = SCENARIOS[sys.argv[1]][1]
    if needed is not None and not hasattr(asyncio, needed):
        truth.emit("UNSUPPORTED " + sys.argv[1])
        sys.exit(2)
    truth.run(lambda: main(sys.argv[1]))
