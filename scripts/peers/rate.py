"""The highest rate that each sampler keeps up, and how much of it is wrong."""

from programs import Program, interpreter

from . import chain_truth
from .table import OURS, ratio_of
from .tools import AUSTIN, PEERS, TACHYON, asyncspy

DEPTHS = (10, 50)


def measure(options, table):
    """Chains of coroutines that are rebuilt all the time."""
    for depth in DEPTHS:
        rates, hidden = {}, None
        for sampler in [asyncspy(), *PEERS, AUSTIN]:
            found = measure_one(options, table, sampler, depth)
            rates[sampler.name], impossible = found
            hidden = impossible if sampler.name == OURS else hidden
        ratio = ratio_of(rates[OURS], rates[TACHYON.name])
        table.add_bar("rate at depth %d ≥ 6 × Tachyon's" % depth, ratio, ratio and ratio >= 6)
        text = "share at depth %d that is torn and not marked = 0" % depth
        table.add_bar(text, hidden, hidden == 0)


def measure_one(options, table, sampler, depth):
    """The rate of one sampler, and the share of impossible stacks that it does not mark."""
    case = "chain of %d" % depth
    with Program(interpreter(sampler.python), "chain.py", depth) as program, table.quiet():
        outcome, stacks = sampler.run(program.pid, sampler.full_rate, options.seconds)
    if outcome is None:
        table.add(case, sampler.full_name, None, "/s")
        return None, None
    impossible, marked = chain_truth.shares(stacks, depth)
    notes = "%d samples, errors %.2f %%" % (outcome.samples, 100 * outcome.errors)
    if impossible is not None:
        notes += ", impossible and not marked %.3f %%" % (100 * impossible)
    if outcome.torn is not None:
        notes += ", marked torn %.2f %% of samples, %.2f %% of time" % (100 * outcome.torn, 100 * marked)
    table.add(case, sampler.full_name, outcome.rate, "/s", notes, more_is_better=True)
    return outcome.rate, impossible
