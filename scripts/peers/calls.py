"""System calls of one sample: those from one sleep of the sampler to the next.

Counted by the kernel's tracepoints through perf: strace would stop the sampler at each call, and
the program under it would have moved on further.
"""

import itertools
import os
import re
import statistics
import subprocess
import tempfile

from programs import Program, interpreter

from .table import OURS
from .tools import AUSTIN_PYTHON, NEWEST, asyncspy, settle

CASES = [("idle", 2, "idle.py"), ("stalled", 2, "attribution.py", "--period", 3600, "--blocked", 3000),
         ("busy, chain of 10", 4, "chain.py", 10), ("busy, saturated", 4, "healthy.py", "--rate", 1_000_000)]
# Each keeps frames and running tasks in another way.
PYTHONS = (NEWEST, AUSTIN_PYTHON, "3.8")
CALL = re.compile(r"^ *(\d+) .*sys_enter: NR (\d+) \(\w+, \w+, (\w+),", re.M)
# A read (0 on x86-64) of 8 bytes: of a timer.
SLEEP = ("0", "8")
RATE = 200


def measure(options, table):
    """Each state of a loop, on each Python."""
    for python, (state, bar, *target) in itertools.product(PYTHONS, CASES):
        case = "%s, Python %s" % (state, python)
        text = "system calls a sample, %s ≤ %d" % (case, bar)
        with Program(interpreter(python), *target) as program, table.quiet():
            counts = count_calls(options, program.pid)
        if not counts:
            table.add_bar(text + " (needs perf and its tracepoints)", None, False)
            continue
        counts.sort()
        median = statistics.median(counts)
        notes = "of %d samples; nine of ten ≤ %d, worst %d" % (
            len(counts), counts[len(counts) * 9 // 10], counts[-1])
        table.add(case, OURS, median, "calls, the sleep included", notes)
        table.add_bar(text, median, median <= bar)


def count_calls(options, pid):
    """How many calls the sampler made from one sleep to the next."""
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "calls")
        sampler = asyncspy().start(pid, RATE, options.seconds + 3, os.path.join(folder, "out"))
        settle(sampler)
        watch = ["perf", "record", "-q", "-e", "raw_syscalls:sys_enter", "-o", log]
        watch += ["-p", str(sampler.pid), "--", "sleep", str(options.seconds)]
        subprocess.run(watch, capture_output=True)
        sampler.terminate()
        sampler.communicate()
        tell = ["perf", "script", "-i", log, "-F", "tid,event,trace"]
        return calls_between_sleeps(subprocess.run(tell, capture_output=True, text=True).stdout)


def calls_between_sleeps(text):
    """Counts by sample, of the thread that sleeps until a moment."""
    counts, since = [], {}
    for thread, *call_and_size in CALL.findall(text):
        if tuple(call_and_size) == SLEEP:
            if thread in since:
                counts.append(since[thread])
            since[thread] = 0
        if thread in since:
            since[thread] += 1
    return counts
