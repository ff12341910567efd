"""A task that measures from inside how long its loop fails to come round.

`Heartbeat(interval)` keeps the worst gap between two of its wakeups, in
milliseconds and including the interval itself, since the last `take`. Wakeups that
are more than 50 ms late are kept one by one: `gaps` holds when each was due and
when it came, in nanoseconds on CLOCK_MONOTONIC.
"""

import asyncio
import time

LATE_NS = 50000000
MAX_GAPS = 100000


class Heartbeat:
    """The figures of one loop; `beat` is the coroutine to run as a task."""

    def __init__(self, interval=0.005):
        self.interval = interval
        self.gaps = []
        self.clear()

    def clear(self):
        """Begin anew, but for the list of gaps."""
        self.worst_ns = 0
        self.ticks = 0
        self.worst_began_ns = 0

    def take(self):
        """The figures since the last call, as a JSON value."""
        figures = {
            "worst_gap_ms": self.worst_ns / 1e6,
            "worst_began_ns": self.worst_began_ns,
            "ticks": self.ticks,
        }
        self.clear()
        return figures

    def named_gaps(self):
        """All gaps so far, as a JSON value."""
        return [{"began_ns": due, "ended_ns": came} for due, came in self.gaps]

    def note(self, before, now):
        """Take account of one wakeup."""
        self.ticks += 1
        if now - before > self.worst_ns:
            self.worst_ns = now - before
            self.worst_began_ns = before
        due = before + int(self.interval * 1e9)
        if now - due > LATE_NS and len(self.gaps) < MAX_GAPS:
            self.gaps.append((due, now))

    async def beat(self):
        """Wake up for ever."""
        before = time.monotonic_ns()
        while True:
            await asyncio.sleep(self.interval)
            now = time.monotonic_ns()
            self.note(before, now)
            before = now
