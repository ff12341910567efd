"""System calls of one sample: those from one sleep of the sampler to the next.

Samples of a loop that is left asleep share a sleep: one of them has made all calls, the others none.

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

STALLED = "stalled"
CASES = [("idle", 2, "idle.py"), (STALLED, 2, "idle.py"),
         ("busy, chain of 10", 4, "chain.py", 10), ("busy, saturated", 4, "healthy.py", "--rate", 1_000_000)]
# Each keeps frames and running tasks in another way.
PYTHONS = (NEWEST, AUSTIN_PYTHON, "3.8")
CALL = re.compile(r"^ *(\d+) +([\d.]+): .*sys_enter: NR (\d+) \(\w+, \w+, (\w+),", re.M)
# On x86-64: a read (0) of 8 bytes, which is one of a timer, and a poll (271), which lasts for many samples.
SLEEP_READ, SLEEP_POLL = ("0", "8"), "271"
RATE = 200


def measure(options, table):
    """Each state of a loop, on each Python."""
    for python, (state, bar, *target) in itertools.product(PYTHONS, CASES):
        case = "%s, Python %s" % (state, python)
        text = "system calls a sample, %s ≤ %d" % (case, bar)
        with Program(interpreter(python), *target) as program, table.quiet():
            if state == STALLED:
                program.stall(3600)
            counts = count_calls(options, program.pid)
        if not counts:
            table.add_bar(text + " (needs perf and its tracepoints)", None, False)
            continue
        counts.sort()
        median = statistics.median(counts)
        notes = "of %d samples; nine of ten ≤ %d, worst %d, mean %.1f" % (
            len(counts), counts[len(counts) * 9 // 10], counts[-1], statistics.mean(counts))
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
        tell = ["perf", "script", "-i", log, "-F", "tid,time,event,trace"]
        return calls_between_sleeps(subprocess.run(tell, capture_output=True, text=True).stdout)


def calls_between_sleeps(text):
    """Counts by sample, of the thread that sleeps until a moment."""
    counts, calls, sleeps = [], {}, {}
    for thread, at, number, size in CALL.findall(text):
        if (number, size) == SLEEP_READ or number == SLEEP_POLL:
            if thread in calls:
                began, is_long = sleeps[thread]
                samples = round((float(at) - began) * RATE) if is_long else 1
                counts += [calls[thread]] + [0] * (samples - 1)
            calls[thread], sleeps[thread] = 0, (float(at), number == SLEEP_POLL)
        if thread in calls:
            calls[thread] += 1
    return counts
