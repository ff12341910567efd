"""A million samples into a flame graph, from memory: no process, no sampler."""

import os
import re
import subprocess

from programs import ROOT

from .table import OURS

EXAMPLE = os.path.join(ROOT, "target", "release", "examples", "replay_times")
FIGURES = re.compile(r"fold_ms (\S+) graph_ms (\S+) peak_kb (\d+)")
MILLION = 1_000_000
# (samples, distinct stacks)
CASES = [(MILLION, 100), (MILLION, 5_000), (4 * MILLION, 5_000)]


def measure(options, table):
    """Few and many distinct stacks; and many more samples, for the memory."""
    slowest, peaks = 0.0, []
    for samples, stacks in CASES[:2] if options.quick else CASES:
        with table.quiet():
            done = subprocess.run(
                [EXAMPLE, str(samples), str(stacks)], capture_output=True, text=True
            )
        fold, graph, peak = (float(figure) for figure in FIGURES.search(done.stdout).groups())
        case = "%d samples of %d stacks" % (samples, stacks)
        notes = "fold %.0f ms, graph %.0f ms, peak %.1f MB" % (fold, graph, peak / 1024)
        table.add(case, OURS, fold + graph, "ms", notes)
        if samples == MILLION:
            slowest = max(slowest, fold + graph)
        if stacks == CASES[1][1]:
            peaks.append(peak)
    table.add_bar("a million samples to a flame graph, ms ≤ 1000", slowest, slowest <= 1000)
    if len(peaks) == 2:
        growth = peaks[1] / peaks[0]
        table.add_bar("peak memory with four times the samples, × ≤ 1.1", growth, growth <= 1.1)
