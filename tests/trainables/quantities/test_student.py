"""Quantiles of Student's t against scipy's."""

import pytest
from scipy import stats

from trainables.quantities.student import coverage, t_quantile


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 9, 10, 31, 500, 9999])
def test_quantiles_are_scipys(dof):
    for covered in (0.5, 0.95, 0.999):
        expected = stats.t.ppf((1 + covered) / 2, dof)
        assert t_quantile(dof, covered) == pytest.approx(expected, rel=1e-11)
        assert coverage(expected, dof) == pytest.approx(covered, rel=1e-12)
