"""The optimisers' steps are torch.optim's."""

import pytest
import torch

from tests.trainables.landscapes import random_points
from trainables.landscape.descent import Adam, HeavyBall

CASES = [
    ("adam", lambda z: Adam(z, 0.03), lambda z: torch.optim.Adam([z], lr=0.03)),
    ("heavy ball", lambda z: HeavyBall(z, 0.03, 0.9),
     lambda z: torch.optim.SGD([z], lr=0.03, momentum=0.9)),
    ("plain", lambda z: HeavyBall(z, 0.03, 0.0), lambda z: torch.optim.SGD([z], lr=0.03)),
]


@pytest.mark.parametrize(("why", "ours", "theirs"), CASES, ids=[c[0] for c in CASES])
def test_steps_are_torchs(why, ours, theirs):
    start, *grads = random_points(13, 7)
    mine, other = start.clone(), start.clone()
    optimizer, reference = ours(mine), theirs(other)
    for grad in grads:
        optimizer.step(grad)
        other.grad = grad.clone()
        reference.step()
    torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-14)
