"""D H D against dense matrices, and what it does not depend on."""

import torch

from tests.trainables.linalg.test_lanczos import line, of, rotated
from trainables.linalg.scaled import adam_scale, adaptive_scale, scaled


def test_products_are_those_of_the_scaled_matrices():
    h = torch.stack([rotated(line([9, 5], torch.zeros(6)), seed=s)[0] for s in range(2)])
    d, v = torch.randn(2, 2, 8, generator=torch.Generator().manual_seed(0)).double()
    exact = (torch.diag_embed(d) @ h @ torch.diag_embed(d) @ v[:, :, None])[:, :, 0]
    torch.testing.assert_close(scaled(of(h), d)(v), exact, rtol=1e-12, atol=1e-12)


def test_adams_scale_has_the_spectrum_of_the_preconditioned_matrix():
    h, p = rotated(line([9, 5, -2], torch.zeros(5)))[0], torch.logspace(-3, 3, 8).double()
    columns = scaled(of(h.expand(8, -1, -1)), adam_scale(p).expand(8, -1))(torch.eye(8).double())
    exact = torch.linalg.eigvals(torch.diag(1 / p) @ h).real.sort().values
    torch.testing.assert_close(torch.linalg.eigvalsh(columns), exact, rtol=1e-9, atol=1e-9)


def test_positive_rescaling_of_the_weights_changes_no_product():
    """θ → Tθ gives H → T⁻¹HT⁻¹ where the function stays: D H D stays, signs and zeros included."""
    h = rotated(line([9, 5, -2], torch.zeros(5)))[0]
    theta = torch.tensor([[0.0, -3, 2, 0.1, -0.2, 1, 7, -9]]).double()
    t = torch.logspace(-2, 2, 8).double()
    v = torch.randn(1, 8, generator=torch.Generator().manual_seed(0)).double()
    plain = scaled(of(h[None]), adaptive_scale(theta))(v)
    moved = scaled(of((h / t / t[:, None])[None]), adaptive_scale(t * theta))(v)
    torch.testing.assert_close(moved, plain, rtol=1e-12, atol=1e-14)
    assert plain[0, 0] == 0
