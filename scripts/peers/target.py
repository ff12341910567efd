"""What being sampled costs the program: pairs of a stretch without and a stretch with the sampler."""

import os
import statistics
import tempfile
import time

from programs import Program, interpreter

from .table import OURS, OURS_IN_KERNEL
from .tools import AUSTIN, FULL_RATE, NEWEST, PEERS, TACHYON, asyncspy, in_kernel, settle

RATES = (100, 1000, FULL_RATE)
SATURATED = ("healthy.py", "--rate", 1_000_000)
# Two stretches without a sampler differ by this much on a machine with little else to do.
NOISE = 0.02


def measure(options, table):
    """Each sampler at each rate, on a loop that does as much as it can."""
    pairs = 3 if options.quick else 7
    for rate in RATES:
        for sampler in [None, asyncspy(), in_kernel(), *PEERS, AUSTIN]:
            if rate == FULL_RATE and sampler not in (None, TACHYON, AUSTIN) and sampler.name != OURS:
                continue
            measure_one(options, table, sampler, rate, pairs)


def measure_one(options, table, sampler, rate, pairs):
    """The row of one sampler; of none to see the noise."""
    python = sampler.python if sampler else NEWEST
    with Program(interpreter(python), *SATURATED) as program:
        found = [measure_pair(options, table, sampler, rate, program) for _ in range(pairs)]
    ratios = sorted(with_it[0] / without[0] for without, with_it in found)
    kept = statistics.median(ratios)
    gaps = [statistics.median(gap for _, gap in side) for side in zip(*found)]
    case = "full rate" if rate == FULL_RATE else "%d Hz" % rate
    name = sampler.full_name if sampler else "none"
    notes = "pairs %.1f to %.1f %%, worst gap %.1f ms without, %.1f with" % (
        100 * ratios[0], 100 * ratios[-1], *gaps)
    table.add(case, name, 100 * kept, "% of the throughput", notes, more_is_better=True)
    if name in (OURS, OURS_IN_KERNEL) and rate == 1000:
        text = "%s: throughput at 1 kHz within noise of none (± %d %%)" % (name, 100 * NOISE)
        table.add_bar(text, kept, kept >= 1 - NOISE)
        table.add_bar("%s: worst loop gap at 1 kHz, ms (without: %.1f)" % (name, gaps[0]), gaps[1],
                      gaps[1] <= gaps[0] * 1.25)


def measure_pair(options, table, sampler, rate, program):
    """(requests a second, worst gap in ms) without and with the sampler."""
    seconds = options.seconds / 2
    with tempfile.TemporaryDirectory() as folder, table.quiet():
        without = stretch(program, seconds)
        if sampler is None:
            return without, stretch(program, seconds)
        output = os.path.join(folder, "out")
        process = sampler.start(program.pid, rate, seconds + 2, output)
        settle(process)
        with_it = stretch(program, seconds)
        process.terminate()
        process.communicate()
        return without, with_it


def stretch(program, seconds):
    """The program's own figures of some seconds."""
    program.ask("truth")
    time.sleep(seconds)
    figures = program.ask("truth")
    return figures["requests_per_s"], figures["worst_gap_ms"]
