"""All tasks at one moment, of programs with few and with very many."""

import os
import re
import subprocess
import time

from programs import ROOT, Program, interpreter

from .table import OURS
from .tools import NEWEST

COUNTS = (10, 1_000, 10_000, 100_000)
BARS_MS = {10_000: 15, 100_000: 200}
# What takes longer than this is of no use to anybody.
PATIENCE = 50
EXAMPLE = os.path.join(ROOT, "target", "release", "examples", "snapshot_times")
UNWINDER = os.path.join(ROOT, "scripts", "peers", "unwinder_times.py")
FIGURES = re.compile(r"first_us (\d+) median_us (\d+) tasks (\d+) complete (\S+)")


def measure(options, table):
    """Each number of tasks."""
    costs = {}
    for count in COUNTS:
        if options.quick and count > 10_000:
            continue
        with Program(interpreter(NEWEST), "many.py", count) as program:
            costs[count] = measure_count(table, count, str(program.pid))
    for count, bar in BARS_MS.items():
        cost = costs.get(count)
        text = "steady snapshot of %d tasks, ms ≤ %d" % (count, bar)
        table.add_bar(text, cost, cost is not None and cost <= bar)


def measure_count(table, count, pid):
    """The rows of one target; asyncspy's steady cost in milliseconds."""
    python = interpreter(NEWEST)
    rows = [(OURS, [EXAMPLE, pid, "21"]), ("RemoteUnwinder", python + [UNWINDER, pid, "5"])]
    steady_of = {}
    for tool, words in rows:
        with table.quiet():
            found = FIGURES.search(run(words)[1])
        first = steady = None
        notes = "%s tasks, complete %s" % found.groups()[2:] if found else ""
        # The time that it takes to fail is no time of a snapshot.
        if found and not found.group(4).startswith("0/"):
            first, steady = (int(found.group(at)) / 1000 for at in (1, 2))
        table.add("%d tasks, first" % count, tool, first, "ms", notes)
        table.add("%d tasks, steady" % count, tool, steady, "ms", notes)
        steady_of[tool] = steady
    with table.quiet():
        seconds, said = run(python + ["-m", "asyncio", "ps", pid])
    notes = "whole command, %d lines" % said.count("\n")
    table.add("%d tasks, first" % count, "asyncio ps", seconds and 1000 * seconds, "ms", notes)
    return steady_of[OURS]


def run(words):
    """Seconds and output of a command; None and nothing if it failed or took too long."""
    began = time.monotonic()
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return None, ""
    return (time.monotonic() - began, done.stdout) if done.returncode == 0 else (None, "")
