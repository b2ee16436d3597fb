"""Samplers of Optuna given what a pack has in common; TPE by way of its private names."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator

from orchestrator.errors import Problem, UserError

GIVEN_CANDIDATES = 8  # times as many, since most fit the fixed values badly


def fixing(values: Mapping[str, Any], sampler: Any) -> Any:
    """The sampler, with some values fixed."""
    if not values:
        return sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        kind = Given if isinstance(sampler, optuna.samplers.TPESampler) else (
            optuna.samplers.PartialFixedSampler)
        return kind(dict(values), sampler)


def check_private_names() -> None:
    """UserError where Optuna lacks what Given relies on: without it TPE would go on, but ask as if
    the values were not given."""
    tpe = optuna.samplers.TPESampler(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        fixed = optuna.samplers.PartialFixedSampler({}, tpe)
    held = vars(tpe).keys() | vars(fixed).keys()
    if not {"_parzen_estimator_cls", "_base_sampler", "_fixed_params"} <= held:
        raise UserError(Problem(f"Optuna {optuna.__version__} cannot be used", "search",
                                "install one that can: pip install 'optuna>=5,<6'"))


class Given(optuna.samplers.PartialFixedSampler):
    """TPE given some values: all scalars are looked at together, with the candidates' fixed ones
    put in before they are ranked. A plain PartialFixedSampler would leave the fixed scalars out of
    the model, and so ask at one batch size for what was good at others."""

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Of all scalars, the fixed ones too."""
        return self._base_sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Mapping[str, BaseDistribution]
                        ) -> dict[str, Any]:
        """The best candidate that has the fixed values."""
        inner = {n: search_space[n].to_internal_repr(v) for n, v in self._fixed_params.items()
                 if n in search_space}

        class Estimator(_ParzenEstimator):
            def sample(self, rng: np.random.RandomState, size: int) -> dict[str, np.ndarray]:
                drawn = super().sample(rng, size * GIVEN_CANDIDATES)
                return {n: np.full_like(v, inner[n]) if n in inner else v
                        for n, v in drawn.items()}

        self._base_sampler._parzen_estimator_cls = Estimator
        return self._base_sampler.sample_relative(study, trial, search_space)
