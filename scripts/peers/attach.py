"""From the command to its first output."""

import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time

from programs import ASYNCSPY, INTERPRETERS, ROOT, Program, interpreter

from .table import OURS, ratio_of
from .tools import AUSTIN_PYTHON, NEWEST

OURS_STATIC = OURS + ", static"
# What scripts/build-static makes.
STATIC = os.path.join(ROOT, os.environ["ASYNCSPY_STATIC"])


def commands(pid, austin_pid, folder):
    """(case, tool, words) of each; asyncspy first in each case. Its binaries are copied, as py-spy's
    was: what the linker has written lies in smaller pieces of the kernel's memory."""
    static = shutil.copy(STATIC, os.path.join(folder, "static"))
    linked = shutil.copy(ASYNCSPY, os.path.join(folder, "linked"))
    py_spy = [os.path.join(INTERPRETERS, "bin", "py-spy"), "dump", "--pid", pid]
    yield "dump", OURS_STATIC, [static, "dump", pid]
    yield "dump", OURS, [linked, "dump", pid]
    yield "dump", "py-spy dump --nonblocking", py_spy + ["--nonblocking"]
    yield "dump", "py-spy dump", py_spy
    austin = [os.path.join(INTERPRETERS, "bin", "austin"), "-w", austin_pid]
    yield "dump", "austin -w, on " + AUSTIN_PYTHON, austin
    yield "tasks", OURS_STATIC, [static, "ps", pid]
    yield "tasks", OURS, [linked, "ps", pid]
    yield "tasks", "asyncio ps", interpreter(NEWEST) + ["-m", "asyncio", "ps", pid]
    yield "start only", OURS_STATIC, [static, "--version"]
    yield "start only", OURS, [linked, "--version"]


def run_once(words):
    """Seconds to the first byte and to the end."""
    began = time.monotonic()
    environment = dict(os.environ, AUSTIN_NO_LOGGING="1")
    # py-spy reports on stdout, and complaints are no answer.
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, bufsize=0
    )
    has_begun = process.stdout.read(1)
    first = time.monotonic() - began
    process.stdout.read()
    process.communicate()
    return (first, time.monotonic() - began) if has_begun else None


def measure(options, table):
    """All commands, many times, each round in another order: what ran before leaves the caches
    better or worse for the next."""
    with tempfile.TemporaryDirectory() as folder, Program(interpreter(NEWEST), "idle.py") as program:
        with Program(interpreter(AUSTIN_PYTHON), "idle.py") as other:
            listed = list(commands(str(program.pid), str(other.pid), folder))
            taken = [[] for _ in listed]
            with table.quiet():
                for _ in range(20 if options.quick else 100):
                    for at in random.sample(range(len(listed)), len(listed)):
                        taken[at].append(run_once(listed[at][2]))
    medians = {}
    for times, (case, tool, _) in zip(taken, listed):
        good = [each for each in times if each]
        first, end = map(statistics.median, zip(*good)) if good else (None, None)
        medians[case, tool] = first
        notes = "to the end %.2f ms" % (1000 * end) if good else ""
        table.add(case, tool, first and 1000 * first, "ms to the first byte", notes)
    ratio = ratio_of(medians["dump", OURS_STATIC], medians["dump", "py-spy dump --nonblocking"])
    table.add_bar("first output, static binary / py-spy's ≤ 0.5", ratio, ratio and ratio <= 0.5)
