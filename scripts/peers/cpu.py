"""Processor time of each sampler at work, start and end left out."""

import os
import subprocess
import tempfile
import time

from programs import ROOT, Program, interpreter, processor_seconds

from .table import OURS, OURS_IN_KERNEL, ratio_of
from .tools import (
    AUSTIN,
    AUSTIN_PYTHON,
    NEWEST,
    PEERS,
    PY_SPY,
    PY_SPY_NONBLOCKING,
    TACHYON,
    asyncspy,
    census_command,
    in_kernel,
    settle,
)

RATES = (100, 1000)
CENSUS_TARGET = ("1 000 tasks", "many.py", 1000)
TARGETS = [("idle", "idle.py"), ("busy", "chain.py", 10), CENSUS_TARGET]
OUR_WAYS = (OURS, OURS_IN_KERNEL)
BARE_TICKS = os.path.join(ROOT, "target", "release", "examples", "bare_ticks")


def measure(options, table):
    """What it costs to wake at each rate, then each target at each rate."""
    for rate in RATES:
        words = [BARE_TICKS, str(rate), str(options.seconds)]
        with table.quiet():
            share = float(subprocess.run(words, capture_output=True, text=True).stdout)
        table.add("nothing, %d Hz" % rate, "a bare sleep", share, "% of a core", "least of all samplers")
    for target in TARGETS:
        for rate in RATES:
            shares = measure_target(options, table, target, rate)
            add_bars(table, target, rate, shares)


def measure_target(options, table, target, rate):
    """Percent of a core by (tool, Python)."""
    # The census is what `top` adds.
    command = {"command": census_command} if target == CENSUS_TARGET else {}
    samplers = [asyncspy(**command), in_kernel(**command), *PEERS]
    samplers += [asyncspy(AUSTIN_PYTHON, **command), in_kernel(AUSTIN_PYTHON, **command), AUSTIN]
    shares = {}
    for sampler in samplers:
        case = "%s, %d Hz, Python %s" % (target[0], rate, sampler.python)
        share = measure_one(options, table, sampler, target, rate)
        shares[sampler.name, sampler.python] = share
        notes = "with a census each second" if sampler.name in OUR_WAYS and command else ""
        table.add(case, sampler.name, share, "% of a core", notes)
    return shares


def measure_one(options, table, sampler, target, rate):
    """Percent of a core."""
    with tempfile.TemporaryDirectory() as folder, table.quiet():
        with Program(interpreter(sampler.python), *target[1:]) as program:
            output = os.path.join(folder, "out")
            process = sampler.start(program.pid, rate, options.seconds + 2, output)
            if not settle(process):
                process.communicate()
                return None
            used, began = processor_seconds(process.pid), time.monotonic()
            time.sleep(options.seconds)
            used = processor_seconds(process.pid) - used
            share = 100 * used / (time.monotonic() - began)
            process.terminate()
            process.communicate()
            return share


def add_bars(table, target, rate, shares):
    """What is asked of asyncspy, with the samples taken either way."""
    for ours in OUR_WAYS:
        if rate == 100 and target == CENSUS_TARGET:
            share = shares[ours, NEWEST]
            text = "%s: %% of a core at 100 Hz, %s and census ≤ 0.5" % (ours, target[0])
            table.add_bar(text, share, share is not None and share <= 0.5)
        if rate != 1000:
            continue
        peers = [(TACHYON, 8), (AUSTIN, 4), (PY_SPY_NONBLOCKING, 20), (PY_SPY, 20)]
        for peer, factor in peers:
            ratio = ratio_of(shares[peer.name, peer.python], shares[ours, peer.python])
            text = "%s: at 1 kHz, %s: %s's CPU ≥ %d × ours" % (ours, target[0], peer.name, factor)
            table.add_bar(text, ratio, ratio and ratio >= factor)
