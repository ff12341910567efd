"""Which stacks of tests/targets/chain.py cannot have stood so at any moment."""

import re

# As each tool writes a frame: `level_1 (targets/chain.py:4)` or `chain.py:level_1:4`.
FRAME = re.compile(r"(?:^|;)(?:[^;]*chain\.py:)?(rebuild|level_\d+|spin)(?: \([^;)]*)?:(\d+)\)?(?=;|$)")
# Lines of a level, in the source that chain.py makes: where it calls the next one, and spins.
DESCENDS, SPINS = 4, 5
MARKED = "(torn)"


def is_impossible(stack, depth):
    """True for a stack with a level left out, or with frames of two different moments."""
    frames = FRAME.findall(stack)
    names = [name for name, _ in frames]
    if not names:
        return False
    spins = names[-1] == "spin"
    levels = names[1:-1] if spins else names[1:]
    if names[0] != "rebuild" or levels != ["level_%d" % (at + 1) for at in range(len(levels))]:
        return True
    lines = [int(line) for _, line in frames[1 : 1 + len(levels)]]
    if any(line != DESCENDS for line in lines[:-1]):
        return True
    shortest = depth - max(1, depth // 2) + 1
    return spins and (lines[-1] != SPINS or not shortest <= len(levels) <= depth)


def shares(stacks, depth):
    """Of the weight of the chain's own stacks: the impossible that nothing marks, and the marked."""
    total = impossible = marked = 0.0
    for stack, weight in stacks:
        if not FRAME.search(stack):
            continue
        total += weight
        if MARKED in stack:
            marked += weight
        elif is_impossible(stack, depth):
            impossible += weight
    return (impossible / total, marked / total) if total else (None, None)
