"""Losses against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from trainables.losses import inverted, per_example


def test_cross_entropy_is_torchs():
    out, y = torch.randn(3, 7, 5, dtype=torch.float64), torch.randint(5, (3, 7))
    expected = F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none").view(3, 7)
    torch.testing.assert_close(per_example("cross_entropy", out, y), expected)


def test_mse_is_half_the_squared_distance_to_one_hot():
    out, y = torch.randn(7, 5, dtype=torch.float64), torch.randint(5, (7,))
    torch_mse = F.mse_loss(out, F.one_hot(y, 5).double())  # a mean over outputs: factor 2/C
    torch.testing.assert_close(per_example("mse", out, y).mean(), torch_mse * 5 / 2)


def test_unknown():
    with pytest.raises(ValueError, match="hinge"):
        per_example("hinge", torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))


def test_labels_by_inversion():
    p = torch.tensor([0.25, 0.0, 0.5, 0.25]).expand(5, 4)
    uniform = torch.tensor([0.0, 0.2499, 0.25, 0.75, 0.9999999], dtype=torch.float64)
    assert inverted(p, uniform).tolist() == [0, 0, 2, 3, 3]  # never a class of probability 0
    assert inverted(p[:1] * 0.9, torch.tensor([0.99])).tolist() == [3]  # rounding leaves no gap
