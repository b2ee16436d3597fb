"""Counter-based randomness: every draw is a function of (seed, stream, counter), never of history.

Draws are made on the CPU whatever the device, so that a run's random numbers do not depend on
where it is trained; a resumed run needs no generator state, only its step number.
"""

import hashlib

import torch
from torch import Tensor


def derive(seed: int, stream: str, counter: int = 0) -> int:
    """A 63-bit integer, equal for equal arguments on every machine."""
    text = f"{seed}|{stream}|{counter}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def generator(seed: int, stream: str, counter: int = 0) -> torch.Generator:
    """A CPU generator at the start of that stream."""
    return torch.Generator().manual_seed(derive(seed, stream, counter))


def normal(seeds: list[int], stream: str, counter: int, shape: tuple[int, ...],
           like: Tensor) -> Tensor:
    """(R, *shape) standard normals, drawn in float64 and rounded to the dtype of ``like``."""
    return _stack(seeds, lambda s: torch.randn(
        shape, generator=generator(s, stream, counter), dtype=torch.float64), like)


def rademacher(seeds: list[int], stream: str, counter: int, shape: tuple[int, ...],
               like: Tensor) -> Tensor:
    """(R, *shape) of independent signs ±1."""
    return _stack(seeds, lambda s: 2 * torch.randint(
        0, 2, shape, generator=generator(s, stream, counter), dtype=torch.int8) - 1, like)


def _stack(seeds, draw, like):
    drawn = {s: draw(s) for s in set(seeds)}
    return sent(torch.stack([drawn[s] for s in seeds]).to(like.dtype), like.device)


def sent(drawn: Tensor, device: torch.device) -> Tensor:
    """On the device, without waiting for what it is doing."""
    drawn = drawn.pin_memory() if device.type == "cuda" else drawn
    return drawn.to(device, non_blocking=True)
