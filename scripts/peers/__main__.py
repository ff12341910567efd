"""Runs the sections that were asked for, and closes with the bars."""

import argparse

from . import attach, calls, cpu, rate, replay, snapshot, target
from .table import Table

SECTIONS = {
    "rate": rate,
    "calls": calls,
    "cpu": cpu,
    "target": target,
    "attach": attach,
    "snapshot": snapshot,
    "replay": replay,
}


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench-peers")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="shorter, and so less exact")
    parser.add_argument("--seconds", type=int, help="of each measurement; 5, or 2 with --quick")
    parser.add_argument("--lock", help="file whose lock is held during each measurement")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error("no such section: " + " ".join(sorted(unknown)))
    options.sections = options.sections or list(SECTIONS)
    options.seconds = options.seconds or (2 if options.quick else 5)
    return options


def main():
    """The table and the bars."""
    options = parse()
    table = Table(options.lock)
    for name in options.sections:
        table.begin_section(name)
        SECTIONS[name].measure(options, table)
    table.close()


if __name__ == "__main__":
    main()
