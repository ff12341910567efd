"""The samplers: how each is started, and what it says of its own work."""

import math
import os
import re
import subprocess
import tempfile
import time

from programs import ASYNCSPY, INTERPRETERS, interpreter

from .table import OURS, OURS_IN_KERNEL

# Tachyon reads only its own version; austin does not know 3.15.
NEWEST, AUSTIN_PYTHON = "3.15", "3.12"
# Above what any of them reaches; asyncspy and Tachyon take no more.
FULL_RATE = 1_000_000
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Outcome:
    """What a sampler did: samples, and the shares of them that it says are wrong or marks as torn."""

    def __init__(self, samples, errors, torn=None):
        self.samples, self.errors, self.torn = samples, errors, torn
        self.seconds = None

    @property
    def rate(self):
        """Samples per second."""
        return self.samples / self.seconds


class Sampler:
    """A tool that samples at a rate for some seconds and writes folded stacks."""

    folds = True
    full_rate = FULL_RATE
    # Whether it goes on, however long, until it has sampled as often as was asked for.
    runs_over = False

    def __init__(self, name, python, command, parse):
        self.name, self.python, self.command, self.parse = name, python, command, parse

    def start(self, pid, rate, seconds, output):
        """Starts it on a process; the result's `communicate` waits for its end."""
        words = [str(word) for word in self.command(rate, seconds)]
        filled = [word.format(pid=pid, output=output) for word in words]
        # austin logs to the console of the machine when there is no syslog, which slows all down.
        environment = dict(os.environ, AUSTIN_NO_LOGGING="1")
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(filled, env=environment, **pipes)

    def run(self, pid, rate, seconds):
        """Runs it to its end: its outcome, and its folded stacks as (stack, weight)."""
        with tempfile.TemporaryDirectory() as folder:
            output = os.path.join(folder, "out.folded")
            began = time.monotonic()
            said = self.start(pid, rate, seconds, output).communicate()[0]
            outcome = self.parse(COLOUR.sub("", said), threads_of(pid))
            if outcome:
                outcome.seconds = whole(seconds)
            if outcome and self.runs_over:
                # It counts each thread that is not idle; the loop has one.
                outcome.samples = min(outcome.samples, rate * whole(seconds))
                outcome.seconds = time.monotonic() - began
            return outcome, read_folded(output) if self.folds and outcome else []

    @property
    def full_name(self):
        """With the Python that it is used on, where that is not the newest."""
        return self.name if self.python == NEWEST else "%s, on %s" % (self.name, self.python)


def threads_of(pid):
    """How many threads a process has."""
    return len(os.listdir("/proc/%d/task" % pid))


def read_folded(path):
    """(stack, weight) of each line. What a peer has read of a stack that moved may be no text."""
    with open(path, errors="replace") as file:
        rows = [row.rstrip("\n").rpartition(" ") for row in file]
    return [(stack, float(weight)) for stack, _, weight in rows]


def asyncspy_command(rate, seconds):
    """Our own recording."""
    return [ASYNCSPY, "record", "-r", rate, "-d", seconds, "-f", "folded", "-o", "{output}", "{pid}"]


def asyncspy_parse(said, _threads):
    """`33314 samples (0 late, 244 torn, 43 failed, 0 dropped), 0 stalls`"""
    found = re.search(r"(\d+) samples \(\d+ late, (\d+) torn, (\d+) failed, (\d+) dropped", said)
    if not found:
        return None
    samples, torn, failed, dropped = map(int, found.groups())
    return Outcome(samples, (failed + dropped) / max(samples, 1), torn / max(samples, 1))


def census_command(rate, seconds):
    """Our own view, with its census of all tasks once a second."""
    return [ASYNCSPY, "top", "--once", "-r", rate, "-d", seconds, "{pid}"]


def tachyon_command(rate, seconds):
    """CPython's own profiler with task awareness on; it takes whole seconds."""
    words = interpreter(NEWEST) + ["-m", "profiling.sampling", "attach", "--async-aware"]
    return words + ["-r", rate, "-d", whole(seconds), "--collapsed", "-o", "{output}", "{pid}"]


def tachyon_parse(said, _threads):
    """`Captured 63898 samples in 3.00 seconds`, `Error rate: 0.68`"""
    samples = re.search(r"Captured (\d+) samples", said)
    errors = re.search(r"Error rate: ([\d.]+)", said)
    share = float(errors.group(1)) / 100 if errors else 0.0
    return Outcome(int(samples.group(1)), share) if samples else None


def austin_command(rate, seconds):
    """austin; it takes whole seconds and microseconds."""
    words = [os.path.join(INTERPRETERS, "bin", "austin"), "-i", max(1, 1_000_000 // rate)]
    return words + ["-x", whole(seconds), "-o", "{output}", "-p", "{pid}"]


def austin_parse(said, threads):
    """`Error rate . . . 1136/166478 (0.68%)`; each thread counts."""
    found = re.search(r"Error rate[ .]*(\d+)/(\d+)", said)
    if not found or int(found.group(2)) == 0:
        return None
    errors, samples = map(int, found.groups())
    return Outcome(samples / threads, errors / samples)


def py_spy_command(*flags):
    """py-spy; it takes whole seconds."""

    def command(rate, seconds):
        words = [os.path.join(INTERPRETERS, "bin", "py-spy"), "record", "-p", "{pid}", "-r", rate]
        return words + ["-d", whole(seconds), "-f", "raw", "-o", "{output}", *flags]

    return command


def py_spy_parse(said, _threads):
    """`Samples: 14209 Errors: 81`"""
    found = re.search(r"Samples: (\d+) Errors: (\d+)", said)
    if not found:
        return None
    samples, errors = map(int, found.groups())
    return Outcome(samples, errors / max(samples + errors, 1))


def whole(seconds):
    """Seconds for tools that take no fraction."""
    return math.ceil(seconds)


def asyncspy(python=NEWEST, command=asyncspy_command):
    """Ourselves."""
    found = Sampler(OURS, python, command, asyncspy_parse)
    found.folds = command is asyncspy_command
    return found


def in_kernel(python=NEWEST, command=asyncspy_command):
    """Ourselves, with the samples taken by the kernel."""

    def with_flag(rate, seconds):
        return command(rate, seconds) + ["--in-kernel"]

    return Sampler(OURS_IN_KERNEL, python, with_flag, asyncspy_parse)


def py_spy(name, *flags):
    """py-spy, which falls behind far below the rate of the others."""
    found = Sampler(name, NEWEST, py_spy_command(*flags), py_spy_parse)
    found.full_rate, found.runs_over = 5_000, True
    return found


TACHYON = Sampler("tachyon --async-aware", NEWEST, tachyon_command, tachyon_parse)
AUSTIN = Sampler("austin", AUSTIN_PYTHON, austin_command, austin_parse)
AUSTIN.folds = False  # a format of its own
PY_SPY = py_spy("py-spy")
PY_SPY_NONBLOCKING = py_spy("py-spy --nonblocking", "--nonblocking")
PEERS = [TACHYON, PY_SPY_NONBLOCKING, PY_SPY]


def settle(process, seconds=1.0):
    """Lets a sampler get to work; true if it still is."""
    time.sleep(seconds)
    return process.poll() is None
