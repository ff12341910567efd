"""Times the reader behind `python -m asyncio ps`, in process: unwinder_times.py PID COUNT.

Prints what examples/snapshot_times.rs prints. A read that fails does not count as complete.
"""

import statistics
import sys
import time

import _remote_debugging


def main(pid, count):
    """One reader, used again and again."""
    unwinder = _remote_debugging.RemoteUnwinder(pid)
    times, tasks, complete = [], 0, 0
    for _ in range(count):
        began = time.monotonic()
        try:
            found = unwinder.get_all_awaited_by()
        except (RuntimeError, OSError):
            found = None
        times.append(round((time.monotonic() - began) * 1e6))
        if found is not None:
            tasks, complete = sum(len(each.awaited_by) for each in found), complete + 1
    median = round(statistics.median(times[1:]))
    figures = (times[0], median, tasks, complete, count)
    print("first_us %d median_us %d tasks %d complete %d/%d" % figures)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
