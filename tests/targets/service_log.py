"""What the two small web services share: the stalls they cause, and their protocol.

The services answer `/ok` at once, `/slow-blocking?seconds=S` after `time.sleep` in
the coroutine, `/slow-async?seconds=S` after `asyncio.sleep`, and `/stalls` with the
log. Run as programs they also speak the protocol of `truth.py`, with

    truth   {"pid", "requests", "stalls": [{"task_id", "began_ns", "ended_ns",
            "function", "file", "line"}], "loops", "threads"}
"""

import asyncio
import os
import sys
import threading
import time

import introspect
import truth

MAX_STALLS = 10000
stalls = []
counts = {"requests": 0}


def block_request(seconds):
    """The mistake: a synchronous sleep inside a coroutine; logs itself."""
    line = sys._getframe().f_lineno + 2
    began = time.monotonic_ns()
    time.sleep(seconds)
    ended = time.monotonic_ns()
    if len(stalls) < MAX_STALLS:
        task = introspect.address(asyncio.current_task())
        record = {"task_id": task, "began_ns": began, "ended_ns": ended}
        record.update(function="block_request", file=__file__, line=line)
        stalls.append(record)


def count():
    """One more request."""
    counts["requests"] += 1


def take():
    """The truth."""
    return {
        "pid": os.getpid(),
        "requests": counts["requests"],
        "stalls": stalls,
        "loops": [truth.describe_loop(loop, native) for loop, native, _ in truth.loops],
        "threads": [
            {"name": thread.name, "native_id": thread.native_id}
            for thread in threading.enumerate()
        ],
    }


def announce(port):
    """Print READY with the port and begin to obey; call it inside the loop."""
    truth.adopt_loop()
    truth.serve({"port": port}, {"truth": take}, steady=False)
