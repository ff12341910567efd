"""A program whose loops, threads or whole process change while it is watched.

    python changes.py KIND

After READY each line on stdin makes the next change; `truth` answers with
{"stalls": [{"began_ns", "ended_ns"}], "finished"}. Each change ends in a loop that
runs `stall`, which sleeps 0.2 s synchronously in `hold`. KIND is

    exec      the process replaces itself by a new Python
    fork      a child is forked, which lives on without a loop
    runs      another `asyncio.run` begins in the same thread, after the last one ended
    threads   a thread runs a loop of its own and ends
"""

import asyncio
import json
import os
import sys
import threading
import time

stalls = []


def hold():
    """Sleep where nobody should."""
    began = time.monotonic_ns()
    time.sleep(0.2)
    stalls.append({"began_ns": began, "ended_ns": time.monotonic_ns()})


async def stall():
    """Let the observer find the loop, then hold it."""
    await asyncio.sleep(0.5)
    hold()
    await asyncio.sleep(0.1)


def emit(value):
    """Answer."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def change(kind):
    """Make one change and run the loop that follows it."""
    if kind == "exec" and "again" not in sys.argv:
        script = os.path.abspath(__file__)
        os.execv(sys.executable, [sys.executable, script, kind, "again"])
    if kind == "fork" and os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    if kind == "threads":
        thread = threading.Thread(target=asyncio.run, args=(stall(),), name="other")
        thread.start()
        thread.join()
    else:
        asyncio.run(stall())


def main():
    """Obey."""
    kind = sys.argv[1]
    if "again" in sys.argv:
        change(kind)
        emit({"stalls": stalls})
    else:
        sys.stdout.write("READY {}\n")
        sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "truth":
            emit({"stalls": stalls})
        else:
            change(kind)
            emit({"stalls": stalls})


if __name__ == "__main__":
    main()
