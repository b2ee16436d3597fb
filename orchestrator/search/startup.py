"""How a search begins, before its outcomes guide it: random runs, generations, looks at lists."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from orchestrator.search.section import Search

MOST_LISTED = 10_000  # combinations that are gone through one by one
LOOKING = 1 / 3  # of the budget, for values that no run has had


def random_runs(width: int) -> int:
    """Before the first model: at most ten, in whole packs, or one pack."""
    return max(10 // width, 1) * width


def first_look(width: int, combinations: int) -> int:
    """Random runs of a first pack, where ``combinations`` of shared values are to be looked at: two
    packs' worth over all, from a quarter to half of a pack each."""
    return max(1, width // 4, min(width // 2, 2 * width // combinations))


def population(search: Search, width: int) -> int:
    """Whole packs, and at least eight generations where the budget allows: from 16 to 48."""
    wanted = min(48, max(16, search.runs // search.seeds // 8))
    return -(-wanted // width) * width if width <= 48 else wanted


def unseen(
    lists: Mapping[str, Sequence[Any]], seen: Collection[Mapping[str, Any]], search: Search,
    draw: int, empty: Collection[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Of lists of which a pack has one value each, the ``draw``-th combination (modulo their
    number) that no point in ``seen`` or ``empty`` has, while fewer points than a third of the
    budget are seen; empty where there is none.

    A pack that follows what the first packs have shown would see few of the values: those that
    these packs happened to have.
    """
    if not lists or len(seen) * search.seeds >= LOOKING * search.runs or (
            math.prod(map(len, lists.values())) > MOST_LISTED):
        return {}
    known = {tuple(values[n] for n in lists) for values in (*seen, *empty)}
    new = [row for row in itertools.product(*lists.values()) if row not in known]
    return dict(zip(lists, new[draw % len(new)], strict=True)) if new else {}
