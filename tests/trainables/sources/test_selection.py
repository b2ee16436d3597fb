"""Subsets: balanced, nested, of the seed alone, and no larger than what there is."""

import numpy as np
import pytest

from trainables.errors import InputError
from trainables.sources.selection import balanced_order, choose, draws

LABELS = np.repeat([0, 1, 2], [50, 30, 4])    # sorted and unequal, as folders of images are


def config(train=None, test=None, seed=0):
    return {"train_size": train, "test_size": test, "seed": seed}


@pytest.mark.parametrize(("size", "counts"), [
    (12, [4, 4, 4]), (13, None), (3, [1, 1, 1]), (2, None),
    (44, [20, 20, 4]),      # the small class is used up; the others share
    (84, [50, 30, 4]),
])
def test_balanced(size, counts):
    rows = choose([LABELS, LABELS], config(train=size)).train
    assert len(set(rows)) == size
    got = np.bincount(LABELS[rows], minlength=3)
    if counts is None:
        assert got.max() - got.min() == 1
    else:
        assert got.tolist() == counts


def test_nested_and_by_the_seed():
    small, large = (choose([LABELS, LABELS], config(n, n)) for n in (10, 40))
    assert large.train[:10].tolist() == small.train.tolist()
    assert large.test[:10].tolist() == small.test.tolist()
    assert large.train.tolist() != large.test.tolist()      # streams of their own
    other = choose([LABELS, LABELS], config(40, 40, seed=1))
    assert other.train.tolist() != large.train.tolist()


def test_whole_sets_keep_their_order():
    rows = choose([LABELS, LABELS[:5]], config())
    assert rows.train.tolist() == list(range(84))
    assert rows.test.tolist() == list(range(5))


@pytest.mark.parametrize(("sizes", "train", "test"), [
    (config(), 68, 16), (config(test=30), 54, 30), (config(10, 6), 10, 6),
])
def test_one_set_is_split_without_overlap(sizes, train, test):
    rows = choose([LABELS], sizes)
    assert (len(rows.train), len(rows.test)) == (train, test)
    assert not set(rows.train) & set(rows.test)
    assert set(LABELS[rows.test]) == {0, 1, 2}


def test_training_examples_do_not_depend_on_the_training_size():
    few, many = choose([LABELS], config(10)), choose([LABELS], config(40))
    assert few.test.tolist() == many.test.tolist()
    assert few.train.tolist() == many.train[:10].tolist()


@pytest.mark.parametrize(("labels", "sizes", "key"), [
    ([LABELS, LABELS], config(train=85), "data.train_size"),
    ([LABELS, LABELS], config(test=85), "data.test_size"),
    ([LABELS], config(test=84), "data.test_size"),          # nothing left to train on
    ([LABELS], config(70, 20), "data.train_size"),
    ([LABELS, LABELS[:0]], config(), "data"),
    ([LABELS[:1]], config(), "data"),
])
def test_more_than_there_is(labels, sizes, key):
    with pytest.raises(InputError) as caught:
        choose(labels, sizes)
    assert caught.value.key == key


def test_the_draws_are_frozen():
    # Data of earlier sweeps was chosen by these: a change here changes results.
    assert draws(0, "digits").permutation(8).tolist() == [6, 2, 7, 4, 0, 3, 1, 5]
    assert balanced_order(np.array([0, 0, 0, 1, 1]), 0, "train").tolist() == [4, 1, 3, 2, 0]
