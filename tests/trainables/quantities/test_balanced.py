"""Which examples are probed: as many of each class as there are."""

import pytest
import torch

from trainables.quantities.balanced import balanced

# (why, labels, count, examples of each class)
CASES = [
    ("equal shares", [0] * 50 + [1] * 30 + [2] * 20, 30, [10, 10, 10]),
    ("a rare class gives all it has, the others fill its place", [0] * 50 + [1] * 3, 20, [17, 3]),
    ("a count that the classes do not divide", [0, 1, 2] * 10, 4, None),
    ("fewer examples than asked for", [1, 0, 1], 10, [1, 2]),
    ("one class", [0] * 9, 4, [4]),
]


@pytest.mark.parametrize(("why", "labels", "count", "shares"), CASES, ids=[c[0] for c in CASES])
def test_classes_have_equal_shares(why, labels, count, shares):
    labels = torch.tensor(labels)
    chosen = balanced(labels, count, torch.Generator().manual_seed(0))
    assert len(chosen) == min(count, len(labels))
    assert torch.equal(chosen, chosen.unique())  # ascending, each once
    found = labels[chosen].bincount()
    assert found.tolist() == shares if shares else found.max() - found.min() == 1


def test_the_draw_is_random_within_a_class_and_the_same_again():
    labels = torch.tensor([0, 1] * 100)
    first = [balanced(labels, 20, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert first[0].max() > 100  # not just the first of each class
