"""The table: a row for each figure, against asyncspy's own; and the bars."""

import contextlib
import fcntl

OURS = "asyncspy"
OURS_IN_KERNEL = OURS + " --in-kernel"
HEADER = "| section | case | tool | figure | asyncspy is better by | notes |\n|---|---|---|---:|---:|---|"


class Table:
    """Prints rows as they come, and the bars at the end."""

    def __init__(self, lock):
        self.lock = lock
        self.section = None
        self.own = {}
        self.bars = []
        print(HEADER, flush=True)

    def begin_section(self, name):
        """The rows that follow are of this section."""
        self.section, self.own = name, {}

    @contextlib.contextmanager
    def quiet(self):
        """Keeps others off the machine while something is measured."""
        if self.lock is None:
            yield
            return
        with open(self.lock, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def add(self, case, tool, value, unit, notes="", more_is_better=False):
        """A row; asyncspy's comes before those of its peers. A value of None is a failure."""
        if tool == OURS:
            self.own[case] = value
        ratio, own = "", self.own.get(case)
        if tool != OURS and own and value:
            ratio = "%.2f ×" % (own / value if more_is_better else value / own)
        figure = "failed" if value is None else "%s %s" % (significant(value), unit)
        cells = (self.section, case, tool, figure, ratio, notes)
        print("| %s |" % " | ".join(cells), flush=True)

    def add_bar(self, text, value, is_met):
        """A bar, with the figure that was measured; a value of None was not measured."""
        if value is None:
            self.bars.append("not measured: %s" % text)
        else:
            verdict = "met" if is_met else "MISSED"
            self.bars.append("%s: %s: %s" % (verdict, text, significant(value)))

    def close(self):
        """The bars."""
        print()
        for bar in self.bars:
            print(bar)


def significant(value):
    """Three digits that count, without an exponent."""
    if value >= 100:
        return "{:,.0f}".format(value)
    return "%.2f" % value if value >= 1 or value == 0 else "%.3g" % value


def ratio_of(one, other):
    """One by the other; None if either is missing."""
    return one / other if one is not None and other else None
