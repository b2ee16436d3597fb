"""The leading eigenvalues by ours, PyHessian, and curvlinops under eigsh: values and cost."""

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.curvature_nets import K
from trainables.costs import GE_GRADIENT, GE_PRODUCT
from trainables.measure import final_weights
from trainables.pack import Pack, PackState
from trainables.probe import Probe

GE_FRESH_PRODUCT = 3.0  # curvlinops rebuilds the gradient for each product (jvp of jacrev)
POWER_TOLERANCES = (0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
ARPACK_TOLERANCES = (0.3, 0.1, 0.03, 1e-2, 1e-3, 1e-5)
ARPACK_BASES = (8, 12, 20)  # ncv; SciPy's own choice is max(2 k + 1, 20)
SEED = 7


@dataclass(frozen=True)
class Found:
    """What one solver found at one snapshot. ``bounds`` are NaN where a solver gives none."""

    values: Tensor  # (K,) float64, descending
    bounds: Tensor  # (K,) float64
    products: int
    ge: float  # counted gradient equivalents, the first gradient included
    seconds: float
    setting: str = ""

    def error(self, truth: Tensor) -> float:
        """The largest relative error of the K values."""
        return float(((self.values - truth).abs() / truth.abs()).max())


def ours(pack: Pack, state: PackState, runs: slice = slice(0, 1)) -> Found:
    """The probe's eigenpairs of run 0, warm from ``state.memory``, which is brought up to date."""
    start = time.process_time()
    probe = Probe(pack, state, runs)
    pairs = probe.eigenpairs
    carry(pack, state, probe)
    seconds = time.process_time() - start
    return Found(pairs.values[0].cpu(), pairs.bounds[0].cpu(), int(pairs.products[0]),
                 float(probe.ge[0]), seconds)


def carry(pack: Pack, state: PackState, probe: Probe) -> None:
    """What the probe remembered goes into the state, as ``trainables.measure`` does it."""
    for name, value in probe.remembered.items():
        if name not in state.memory:
            state.memory[name] = value.new_zeros(pack.width, *value.shape[1:])
        state.memory[name][probe.runs] = value


@dataclass(frozen=True)
class Plain:
    """Run 0 at a snapshot as anybody would have it: a module, inputs and labels."""

    module: nn.Module
    x: Tensor
    y: Tensor

    @classmethod
    def of(cls, pack: Pack, state: PackState) -> "Plain":
        """A copy; the state stays as it is."""
        module = copy.deepcopy(pack.template).eval()
        module.load_state_dict(final_weights(pack, state)[pack.members[0].run_id])
        return cls(module, pack.x_train[pack.measure_set], pack.labels[0][pack.measure_set])

    def gradient_seconds(self, repeats: int) -> list[float]:
        """Seconds of full-batch gradients, one by one: the measured gradient equivalent."""
        params, taken = list(self.module.parameters()), []
        for _ in range(repeats):
            start = time.process_time()
            torch.autograd.grad(F.cross_entropy(self.module(self.x), self.y), params)
            taken.append(time.process_time() - start)
        return taken


def pyhessian(plain: Plain, tolerance: float) -> Found:
    """``pyhessian.hessian(…).eigenvalues(top_n=K, tol=tolerance)``: largest magnitude."""
    import pyhessian as package

    module = copy.deepcopy(plain.module)
    with _counted_products() as count, torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        start = time.process_time()
        solver = package.hessian(module, nn.CrossEntropyLoss(), data=(plain.x, plain.y), cuda=False)
        values, _ = solver.eigenvalues(top_n=K, tol=tolerance)
        seconds = time.process_time() - start
    for p in module.parameters():
        p.grad = None  # it leaves a graph there that refers to itself
    return Found(*_ordered(np.array(values)), count[0], GE_GRADIENT + GE_PRODUCT * count[0],
                 seconds, f"tol {tolerance:g}")


@contextmanager
def _counted_products() -> Iterator[list[int]]:
    import sys

    inner = sys.modules["pyhessian.hessian"]
    plain, count = inner.hessian_vector_product, [0]

    def counted(*args):
        count[0] += 1
        return plain(*args)

    inner.hessian_vector_product = counted
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own create_graph=True
            yield count
    finally:
        inner.hessian_vector_product = plain


def curvlinops(plain: Plain, tolerance: float, basis: int) -> Found:
    """SciPy's eigsh (largest algebraic, ncv = ``basis``) on ``HessianLinearOperator.to_scipy()``.

    Without its check of determinism: about two more products that nobody needs here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from curvlinops import HessianLinearOperator

    start = time.process_time()
    params = [p for p in plain.module.parameters() if p.requires_grad]
    operator = HessianLinearOperator(
        plain.module, nn.CrossEntropyLoss(), params, [(plain.x, plain.y)],
        progressbar=False, check_deterministic=False).to_scipy()
    values, products = arpack(operator.matvec, operator.shape[0], tolerance, basis)
    seconds = time.process_time() - start
    return Found(*_ordered(values), products, GE_FRESH_PRODUCT * products, seconds,
                 f"tol {tolerance:g}, ncv {basis}")


class TooMany(Exception):
    """More products than were allowed."""


def arpack(product: Callable, size: int, tolerance: float, basis: int,
           most: int = 10_000) -> tuple[np.ndarray, int]:
    """eigsh(which="LA") on a product of (P,) arrays; the values and the products it took."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    count = 0

    def counted(v):
        nonlocal count
        count += 1
        if count > most:
            raise TooMany
        return product(v.reshape(-1))

    start = np.random.default_rng(SEED).normal(size=size).astype(np.float32)
    operator = LinearOperator((size, size), matvec=counted, dtype=np.float32)
    values = eigsh(operator, k=K, which="LA", tol=tolerance, ncv=basis, v0=start,
                   return_eigenvectors=False)
    return values, count


def _ordered(values: np.ndarray) -> tuple[Tensor, Tensor]:
    found = torch.tensor(np.sort(values)[::-1].copy(), dtype=torch.float64)
    return found, torch.full_like(found, torch.nan)


def cheapest_pyhessian(plain: Plain, truth: Tensor, goal: float) -> float | None:
    """The loosest of the tolerances that brings all K values within ``goal`` of the truth.

    By bisection. At PyHessian's own limit of 100 iterations a value none may do.
    """
    reached, left = None, list(POWER_TOLERANCES)
    while left:
        middle = (len(left) - 1) // 2
        if pyhessian(plain, left[middle]).error(truth) <= goal:
            reached, left = left[middle], left[:middle]
        else:
            left = left[middle + 1:]
    return reached


def cheapest_arpack(pack: Pack, state: PackState, truth: Tensor, goal: float,
                    bases: tuple[int, ...]) -> tuple[float, int] | None:
    """The (tolerance, ncv) with the fewest products that brings all K values within ``goal``.

    Sought with our products, which are the same to rounding and faster.
    """
    curvature = Probe(pack, state, slice(0, 1)).curvature

    def product(v: np.ndarray) -> np.ndarray:
        return curvature.product(torch.as_tensor(v, dtype=pack.dtype)[None])[0].numpy()

    best, fewest = None, 1000
    for basis in bases:
        for tolerance in ARPACK_TOLERANCES:
            try:
                values, count = arpack(product, pack.parameters, tolerance, basis, fewest - 1)
            except TooMany:
                break  # tighter ones take more
            found = Found(*_ordered(values), count, 0, 0)
            if found.error(truth) <= goal:
                best, fewest = (tolerance, basis), count
                break
    return best
