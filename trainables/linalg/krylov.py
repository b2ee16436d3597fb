"""A growing orthonormal basis of each of R runs, and what their matrices leave outside of it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

Product = Callable[[Tensor], Tensor]

# What rounding may leave of a vector that lies in the basis, and of an eigenvalue, in units of
# the dtype's eps times the largest |H v| seen.
ROUNDING = 32
GROWTH = 32  # rows by which the basis grows
LANES = 16  # rows are padded to whole cache lines: matrix kernels round by a row's alignment


class Space:
    """Orthonormal rows for each run: ``size`` of the basis V, then ``width`` of the front Q.

    H V = V T + Q C with T = ``projected`` (R, size, size) and C = ``coupling`` (R, width, size),
    float64 on the host. ``scale`` (R,) is the largest |H v| seen, ``asymmetry`` (R,) how far the
    products were from those of a symmetric matrix, ``alive`` (R,) false from a run's first
    non-finite number on; its rows are zero from there, as are those of runs that were closed. No
    run's numbers depend on another's, or on its place in the pack.
    """

    def __init__(self, start: Tensor):
        runs, width, self.dim = start.shape
        self.size, self.width = 0, 0
        self.alive = torch.ones(runs, dtype=torch.bool)
        self._going = self.alive.clone()
        self.projected = torch.zeros(runs, 0, 0, dtype=torch.float64)
        self.coupling = torch.zeros(runs, width, 0, dtype=torch.float64)
        self.scale = torch.zeros(runs, dtype=torch.float64)
        self.asymmetry = torch.zeros(runs, dtype=torch.float64)
        self._rows = aligned(start[:, :0])
        for vector in aligned(start.detach()).unbind(1):
            self._append(self._split(vector)[0], _norm(vector))

    @property
    def rounding(self) -> Tensor:
        """(R,) what rounding may have done to an eigenvalue."""
        return ROUNDING * torch.finfo(self._rows.dtype).eps * self.scale + self.asymmetry

    def close(self, runs: Tensor) -> None:
        """Nothing more is computed of ``runs``: they give zero vectors to products."""
        self._going[runs] = False

    def expand(self, product: Product, direction: Tensor) -> None:
        """Moves the combination ``direction`` (R, width) of the front into the basis."""
        self._turn(direction)
        m = self.size
        rows = self._rows[:, m]
        if not self._going.all():
            rows[~self._going.to(rows.device)] = 0
        image = aligned(product(rows[:, :self.dim]).detach())
        self.scale = torch.maximum(self.scale, _norm(image).nan_to_num(0, 0, 0))
        rest, parts = self._split(image)
        self.alive &= parts.isfinite().all(1)
        parts = torch.where(self.alive[:, None], parts, 0)
        known, self.coupling = self.coupling[:, 0], self.coupling[:, 1:]
        self.asymmetry = torch.hypot(self.asymmetry, (parts[:, :m] - known).norm(dim=1))
        self.projected = pad(self.projected, (0, 1, 0, 1))
        self.projected[:, m, :m] = self.projected[:, :m, m] = (parts[:, :m] + known) / 2
        self.projected[:, m, m] = parts[:, m]
        self.coupling = torch.cat([self.coupling, parts[:, m + 1:, None]], dim=2)
        self.size, self.width = m + 1, self.width - 1
        if self.size + self.width < self.dim:
            self.coupling = pad(self.coupling, (0, 0, 0, 1))
            self.coupling[:, -1, m] = self._append(rest, self.scale)

    def combine(self, weights: Tensor) -> Tensor:
        """(R, m, n) float64 weights of the first m basis rows to (R, n, P) vectors."""
        rows = self._rows[:, :weights.shape[1]]
        return torch.bmm(weights.mT.to(rows), rows)[:, :, :self.dim]

    def _turn(self, direction: Tensor) -> None:
        """Householder reflection of the front that makes ``direction`` its first vector."""
        axis = direction.clone()
        axis[:, 0] += torch.where(direction[:, 0] < 0, -1.0, 1.0)
        turn = torch.eye(self.width, dtype=torch.float64) - (
            2 * axis[:, :, None] * axis[:, None] / axis.square().sum(1)[:, None, None])
        front = self._rows[:, self.size:self.size + self.width]
        front.copy_(torch.bmm(turn.to(front), front))
        self.coupling = dots(turn, self.coupling.mT)

    def _split(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """The part of (R, P) outside of all rows, and its (R, rows) float64 parts along them."""
        rows = self._rows[:, :self.size + self.width]
        parts = torch.zeros(1, dtype=torch.float64)
        rest = vector[:, None]
        for _ in range(2):
            found = torch.bmm(rest, rows.mT)
            rest = torch.baddbmm(rest, found, rows, alpha=-1)
            parts = parts + found[:, 0].double().cpu()
        return rest[:, 0], parts

    def _append(self, vector: Tensor, reference: Tensor) -> Tensor:
        """A new front row from what ``_split`` left; (R,) its norm.

        Where that is but rounding beside ``reference``, the row is a fresh direction and the
        norm 0. Fresh directions depend on nothing but their position.
        """
        norm = _norm(vector)
        self.alive &= norm.isfinite()
        spent = (norm <= ROUNDING * torch.finfo(vector.dtype).eps * reference) & self._going
        if spent.any():
            generator = torch.Generator().manual_seed(self.size + self.width)
            fresh = torch.randn(self.dim, generator=generator, dtype=torch.float64)
            fresh = self._split(aligned(fresh).to(vector).expand_as(vector))[0]
            vector = torch.where(spent.to(vector.device)[:, None], fresh, vector)
        alive = (self.alive & self._going).to(vector.device)[:, None]
        unit = torch.where(alive, vector / _norm(vector).to(vector)[:, None], 0)
        place = self.size + self.width
        if place == self._rows.shape[1]:
            more = min(GROWTH, self.dim - place)
            grown = vector.new_empty(len(vector), more, vector.shape[1])
            self._rows = torch.cat([self._rows, grown], dim=1)
        self._rows[:, place] = unit
        self.width += 1
        return torch.where(spent | ~self.alive, 0, norm)


def aligned(vectors: Tensor) -> Tensor:
    """(…, P) with P padded by zeros to whole cache lines."""
    return pad(vectors, (0, -vectors.shape[-1] % LANES))


def dots(a: Tensor, b: Tensor) -> Tensor:
    """(…, i, m) and (…, j, m) to (…, i, j), small; rounds alike wherever a run lies in memory."""
    return (a[..., :, None, :] * b[..., None, :, :]).sum(-1)


def _norm(vectors: Tensor) -> Tensor:
    """(R, P) to (R,) float64 norms on the host."""
    return vectors.double().norm(dim=1).cpu()
