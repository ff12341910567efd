"""From the command to its first output."""

import os
import statistics
import subprocess
import time

from programs import ASYNCSPY, INTERPRETERS, Program, interpreter

from .table import OURS, ratio_of
from .tools import AUSTIN_PYTHON, NEWEST


def commands(pid, austin_pid):
    """(case, tool, words) of each; asyncspy first in each case."""
    py_spy = [os.path.join(INTERPRETERS, "bin", "py-spy"), "dump", "--pid", pid]
    yield "dump", OURS, [ASYNCSPY, "dump", pid]
    yield "dump", "py-spy dump --nonblocking", py_spy + ["--nonblocking"]
    yield "dump", "py-spy dump", py_spy
    austin = [os.path.join(INTERPRETERS, "bin", "austin"), "-w", austin_pid]
    yield "dump", "austin -w, on " + AUSTIN_PYTHON, austin
    yield "tasks", OURS, [ASYNCSPY, "ps", pid]
    yield "tasks", "asyncio ps", interpreter(NEWEST) + ["-m", "asyncio", "ps", pid]
    yield "start only", OURS, [ASYNCSPY, "--version"]


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
    """All commands in turn, many times."""
    rounds = 20 if options.quick else 100
    with Program(interpreter(NEWEST), "idle.py") as program:
        with Program(interpreter(AUSTIN_PYTHON), "idle.py") as other:
            listed = list(commands(str(program.pid), str(other.pid)))
            taken = [[] for _ in listed]
            with table.quiet():
                for _ in range(rounds):
                    for times, (_, _, words) in zip(taken, listed):
                        times.append(run_once(words))
    medians = {}
    for times, (case, tool, _) in zip(taken, listed):
        good = [each for each in times if each]
        first, end = map(statistics.median, zip(*good)) if good else (None, None)
        medians[case, tool] = first
        notes = "to the end %.2f ms" % (1000 * end) if good else ""
        table.add(case, tool, first and 1000 * first, "ms to the first byte", notes)
    ratio = ratio_of(medians["dump", OURS], medians["dump", "py-spy dump --nonblocking"])
    table.add_bar("first output / py-spy's ≤ 0.5", ratio, ratio and ratio <= 0.5)
