"""Functions of tensors as compiled graphs, kept between processes in the user's cache folder.

A graph gives the same bits in every process, from a warm, cold or disabled cache.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class CannotCompile(Exception):
    """This function cannot be compiled on this machine; in words."""


class Specialised(Exception):
    """Something in the function takes a size that should be free for a constant."""


def compiled(function: Callable[..., Any], examples: Sequence[Tensor],
             free: Sequence[Sequence[int]] = ()) -> Callable[..., Any]:
    """``function`` of tensors, traced once for contiguous inputs like ``examples`` and compiled.

    ``free``: the dimensions of each input whose size may be another at a call. Free sizes that are
    equal among the examples stay equal; sizes of 0 and 1 are taken for constants. Whatever the
    function does to its inputs in place, the graph does too. CannotCompile where it cannot be
    traced (it asks for a value, or holds tensors of its own) or there is no C++ compiler;
    Specialised where a size that should be free cannot be.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_cache()))
    with _quiet():
        return _compiled(function, examples, free or [()] * len(examples))


def _compiled(function: Callable[..., Any], examples: Sequence[Tensor],
              free: Sequence[Sequence[int]]) -> Callable[..., Any]:
    try:
        from torch._inductor import config, standalone_compile
        from torch.fx.experimental.proxy_tensor import make_fx

        options = {"cpp.threads": torch.get_num_threads(), "triton.cudagraphs": False}
        if hasattr(config, "deterministic"):
            options["deterministic"] = True  # no choice of kernels by timing them
        mode, fakes = _fakes(examples, free)
        with mode:
            graph = make_fx(function, tracing_mode="symbolic")(*fakes)
        if any(mode.shape_env.replace(t.shape[d].node.expr).is_number
               for t, dims in zip(fakes, free, strict=True) for d in dims):
            raise Specialised
        with torch.no_grad():
            return standalone_compile(graph, list(examples), dynamic_shapes="from_graph",
                                      options={"config_patches": options})
    except Specialised:
        raise
    except Exception as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise CannotCompile(told[0]) from error


def _fakes(examples: Sequence[Tensor], free: Sequence[Sequence[int]]) -> tuple[Any, list[Tensor]]:
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.fx.experimental import symbolic_shapes as shapes

    mode, kinds = FakeTensorMode(shape_env=shapes.ShapeEnv()), shapes.DimDynamic

    def fake(t: Tensor, dims: Sequence[int]) -> Tensor:
        sizes = [kinds.DUCK if d in dims else kinds.STATIC for d in range(t.dim())]
        return mode.from_tensor(
            t, symbolic_context=shapes.StatelessSymbolicContext(dynamic_sizes=sizes))

    return mode, [fake(t, dims) for t, dims in zip(examples, free, strict=True)]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the compiler logs: what matters of it comes back as an exception."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sgdscope" / "inductor"
