"""Minibatches: permutations, remainders, replacement, and independence of pack mates."""

import pytest
import torch

from trainables.sampling import Epochs, epoch_indices


def test_each_epoch_is_a_fresh_permutation_less_its_remainder():
    first = epoch_indices([4], 0, train_size=103, batch_size=10)
    second = epoch_indices([4], 1, train_size=103, batch_size=10)
    assert first.shape == (1, 10, 10)
    assert len(first.unique()) == 100
    assert not torch.equal(first, second)


def test_a_run_does_not_depend_on_its_mates():
    alone = epoch_indices([7], 3, train_size=50, batch_size=8)
    packed = epoch_indices([1, 7, 7, 2], 3, train_size=50, batch_size=8)
    assert torch.equal(alone[0], packed[1])
    assert torch.equal(alone[0], packed[2])


def test_full_batch_is_the_set_in_its_own_order():
    index = epoch_indices([0, 1], 5, train_size=6, batch_size=6)
    assert index.tolist() == [[list(range(6))]] * 2


def test_with_replacement_covers_evenly():
    index = epoch_indices([0], 0, train_size=10, batch_size=10, replacement=True)
    assert index.shape == (1, 1, 10)
    many = torch.cat([epoch_indices([0], e, train_size=10, batch_size=10, replacement=True)
                      for e in range(400)]).flatten()
    counts = many.bincount(minlength=10)
    assert counts.min() > 300
    assert counts.max() < 500  # 400 ± 5 standard deviations


@pytest.mark.parametrize("ahead", [False, True])
def test_epochs_are_those_that_are_asked_for_in_any_order(ahead):
    asked = []

    def draw(number):
        asked.append(number)
        return torch.full((2, 3, 4), number)

    epochs = Epochs(draw, torch.device("cpu"), ahead=ahead)
    for number in (0, 0, 1, 2, 2, 7, 8, 3):  # resumed and looked ahead at, epochs come in any order
        assert torch.equal(epochs(number), torch.full((2, 3, 4), number))
    assert asked.count(1) == 1  # drawn ahead, and not again
