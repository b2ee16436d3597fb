"""Where a grid ends: its convex hull in logarithms, beyond which a law extrapolates."""

import numpy as np

_SLACK = 1e-6


def inside(grid: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which of ``places`` (n, 2) lie in the convex hull of ``grid`` (m, 2), borders included.

    A grid along one line counts as that line, a single place as itself; none holds nothing. Cost:
    O(m log m + n·h), h the hull's corners.
    """
    if not len(grid):
        return np.zeros(len(places), bool)
    slack = _SLACK * max(1.0, float(np.ptp(grid, axis=0).max()))
    corners = _corners(np.unique(grid, axis=0))
    if len(corners) < 3:
        return _on_segment(corners[0], corners[-1], places, slack)
    edges = np.roll(corners, -1, axis=0) - corners
    length = np.linalg.norm(edges, axis=1)
    off = places[:, None] - corners[None]
    left = (edges[:, 0] * off[..., 1] - edges[:, 1] * off[..., 0]) / length
    return (left >= -slack).all(axis=1)


def _corners(sorted_grid: np.ndarray) -> np.ndarray:
    """Corners counter-clockwise (Andrew 1979, monotone chain)."""
    if len(sorted_grid) < 3:
        return sorted_grid
    halves = []
    for points in (sorted_grid, sorted_grid[::-1]):
        chain: list[np.ndarray] = []
        for point in points:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= _SLACK**2:
                chain.pop()
            chain.append(point)
        halves.append(chain[:-1])
    return np.array([*halves[0], *halves[1]])


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def _on_segment(a: np.ndarray, b: np.ndarray, places: np.ndarray, slack: float) -> np.ndarray:
    along = b - a
    square = float(along @ along)
    share = np.clip((places - a) @ along / square, 0, 1) if square > 0 else np.zeros(len(places))
    return np.linalg.norm(places - (a + share[:, None] * along), axis=1) <= slack
