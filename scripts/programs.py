"""The programs of tests/targets as the scripts run them, and what is seen of a process from outside."""

import json
import os
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
INTERPRETERS = os.path.join(ROOT, "target", "interpreters")
ASYNCSPY = os.path.join(ROOT, "target", "release", "asyncspy")


def interpreter(name):
    """The words that start the Python of this name, out of the manifest of scripts/interpreters."""
    return described(name)["argv"]


def pythonpath(name):
    """Where that Python finds its packages."""
    return described(name)["pythonpath"]


def described(name):
    """What the manifest says of the Python of this name."""
    with open(os.path.join(INTERPRETERS, "manifest.json")) as file:
        found = {each["name"]: each for each in json.load(file)}
    if name not in found:
        sys.exit("there is no Python %s: run scripts/interpreters" % name)
    return found[name]


class Program:
    """A program of tests/targets that has said READY; ends with the `with` block."""

    def __init__(self, argv, script, *arguments):
        path = os.path.join(ROOT, "tests", "targets", script)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        words = argv + [path] + [str(word) for word in arguments]
        self.process = subprocess.Popen(words, **pipes)
        said, _, facts = self.process.stdout.readline().partition(" ")
        if said != "READY":
            self.process.kill()
            sys.exit("%s did not start on %s" % (script, argv[0]))
        self.pid, self.facts = self.process.pid, json.loads(facts)

    def ask(self, word):
        """What the program answers to a command."""
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stall(self, seconds):
        """Makes the program's first loop stall; returns once it does."""
        self.process.stdin.write("stall %g\n" % seconds)
        self.process.stdin.flush()
        if self.process.stdout.readline().strip() != "STALLED":
            sys.exit("process %d does not stall" % self.pid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def processor_seconds(pid):
    """User and system time of a process so far, from its own clock."""
    # As the C library's clock_getcpuclockid makes it; /proc/PID/stat counts in hundredths.
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9
