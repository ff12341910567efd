"""The ways in which `blocker.py` blocks a loop, one plain function each.

Each `block_KIND(seconds)` reads the clock directly before and after the call that
blocks and returns both. The lines that block carry the remark `# blocks`, which is
how `blocking_lines` finds them. What a call needs is prepared by `prepare`, so
that nothing else of weight runs inside the loop.
"""

import hashlib
import inspect
import json
import math
import os
import queue
import random
import re
import socket
import subprocess
import sys
import threading
import time

PATTERN = re.compile("a*b")
QUIET = {"stdin": subprocess.DEVNULL}
FLOATS = [1.5] * 1000
LOCK = threading.Lock()
ORDERS = queue.SimpleQueue()
costs = {}
kept = {}


def blocking_lines(function):
    """First and last line of a function that carry the remark."""
    lines, first = inspect.getsourcelines(function)
    marked = [first + i for i, line in enumerate(lines) if "# blocks" in line]
    return marked[0], marked[-1]


def block_time_sleep(seconds):
    """`time.sleep` where `asyncio.sleep` was meant."""
    began = time.monotonic_ns()
    time.sleep(seconds)  # blocks
    return began, time.monotonic_ns()


def block_cpu_python(seconds):
    """A loop of Python code."""
    total = 0
    deadline = time.monotonic_ns() + int(seconds * 1e9)
    began = time.monotonic_ns()
    while time.monotonic_ns() < deadline:  # blocks
        total += 1  # blocks
    return began, time.monotonic_ns()


def block_cpu_hash(seconds):
    """A password hash; gives up the GIL while it computes."""
    rounds = max(1, int(seconds / costs["cpu_hash"]))
    began = time.monotonic_ns()
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", rounds)  # blocks
    return began, time.monotonic_ns()


def block_cpu_regex(seconds):
    """A search whose time grows with the square of the text; keeps the GIL."""
    length = max(1, int(math.sqrt(seconds / costs["cpu_regex"])))
    began = time.monotonic_ns()
    PATTERN.search("a" * length)  # blocks
    return began, time.monotonic_ns()


def block_cpu_json(seconds):
    """A large document; the encoder is C code below two Python frames."""
    length = max(1, int(seconds / costs["cpu_json"]))
    began = time.monotonic_ns()
    json.dumps([FLOATS] * length)  # blocks
    return began, time.monotonic_ns()


def block_cpu_sort(seconds):
    """A large list of strings that differ only at their end."""
    times = max(1, int(seconds / costs["cpu_sort"]))
    began = time.monotonic_ns()
    sorted(kept["strings"] * times)  # blocks
    return began, time.monotonic_ns()


def block_socket_recv(seconds):
    """A blocking socket whose peer answers late."""
    left, right = kept["sockets"]
    ORDERS.put((seconds, lambda: right.send(b"x")))
    began = time.monotonic_ns()
    left.recv(1)  # blocks
    return began, time.monotonic_ns()


def block_file_read(seconds):
    """A blocking read of a pipe that is fed late."""
    reader, write_end = kept["pipe"]
    ORDERS.put((seconds, lambda: os.write(write_end, b"x")))
    began = time.monotonic_ns()
    reader.read(1)  # blocks
    return began, time.monotonic_ns()


def block_subprocess(seconds):
    """A child process that is waited for."""
    program = "import time; time.sleep(%r)" % seconds
    began = time.monotonic_ns()
    subprocess.run([sys.executable, "-I", "-S", "-c", program], **QUIET)  # blocks
    return began, time.monotonic_ns()


def block_lock(seconds):
    """A lock which another thread holds; that thread takes it again afterwards."""
    ORDERS.put((seconds, LOCK.release))
    began = time.monotonic_ns()
    LOCK.acquire()  # blocks
    ended = time.monotonic_ns()
    LOCK.release()
    ORDERS.put((0, LOCK.acquire))
    return began, ended


def block_plain_callback(seconds):
    """Called by a callback that belongs to no task."""
    began = time.monotonic_ns()
    time.sleep(seconds)  # blocks
    return began, time.monotonic_ns()


def callback_piece(seconds):
    """One of many small callbacks of one turn."""
    began = time.monotonic_ns()
    time.sleep(seconds)  # blocks
    return began, time.monotonic_ns()


def carry_out_orders():
    """The helper thread: does each thing after its delay."""
    while True:
        seconds, action = ORDERS.get()
        time.sleep(seconds)
        action()


def calibrate(kind, block, guess):
    """Find what one unit of work costs by doing about 20 ms of it, undisturbed."""
    costs[kind] = guess
    for _ in range(2):
        began, ended = block(0.02)
        costs[kind] *= max((ended - began) / 0.02e9, 0.01)
    trials = [block(0.02) for _ in range(4)]
    costs[kind] *= min(ended - began for began, ended in trials) / 0.02e9


def prepare(kinds):
    """Everything that the given kinds need."""
    left, right = socket.socketpair()
    read_end, write_end = os.pipe()
    kept["sockets"] = left, right
    kept["pipe"] = open(read_end, "rb", buffering=0), write_end
    kept["strings"] = ["x" * 5000 + str(number) for number in range(64)] * 8
    random.Random(1).shuffle(kept["strings"])
    threading.Thread(target=carry_out_orders, name="helper", daemon=True).start()
    ORDERS.put((0, LOCK.acquire))
    guesses = {
        "cpu_hash": (block_cpu_hash, 1e-6),
        "cpu_regex": (block_cpu_regex, 1e-9),
        "cpu_json": (block_cpu_json, 1e-4),
        "cpu_sort": (block_cpu_sort, 1e-3),
    }
    for kind in kinds:
        if kind in guesses:
            calibrate(kind, *guesses[kind])
