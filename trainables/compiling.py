"""Functions of tensors as compiled graphs, kept between processes in the user's cache folder.

A graph gives the same bits in every process, from a warm, cold or disabled cache. On a CPU it is a
shared library, which is loaded without importing torch's compiler (two seconds) and called without
Python in between.
"""

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from trainables.cache import folder, private, processor
from trainables.shortage import is_out_of_memory


class CannotCompile(Exception):
    """This function cannot be compiled on this machine; in words."""


class Specialised(Exception):
    """Something in the function takes a size that should be free for a constant."""


def compiled(function: Callable[..., None], examples: Sequence[Tensor],
             free: Sequence[Sequence[int]] = ()) -> Callable[..., None]:
    """``function`` of tensors, which changes some of them in place, traced once and compiled.

    For contiguous inputs like ``examples``; a call does not check them. ``free``: the dimensions of
    each whose size may be another at a call. Free sizes that are equal among the examples stay
    equal; sizes of 0 and 1 are taken for constants. CannotCompile where the function cannot be
    traced (it asks for a value, or holds tensors of its own) or there is no C++ compiler;
    Specialised where a size that should be free cannot be.
    """
    with _quiet():
        try:
            return _compiled(function, examples, free or [()] * len(examples))
        except Specialised:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            told = str(error).strip().splitlines() or [type(error).__name__]
            raise CannotCompile(told[0]) from error


def _compiled(function: Callable[..., None], examples: Sequence[Tensor],
              free: Sequence[Sequence[int]]) -> Callable[..., None]:
    from torch.fx.experimental.proxy_tensor import make_fx

    def whole(*tensors: Tensor) -> tuple[Tensor]:
        function(*tensors)
        return (torch.zeros(1, device=tensors[0].device),)  # a library has to return something

    mode, fakes = _fakes(examples, free)
    graph = make_fx(whole, tracing_mode="symbolic")(*fakes)
    if not _holds_for_all_sizes(mode.shape_env, fakes, free):
        raise Specialised
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(private(folder() / "inductor")))
    if all(t.device.type == "cpu" for t in examples):
        return _library(graph, fakes)
    return _jit(graph, examples)


def _holds_for_all_sizes(env: Any, fakes: Sequence[Tensor], free: Sequence[Sequence[int]]) -> bool:
    """Whether no free size became a constant, and none was asked how it compares (``if n > 8``)."""
    constant = any(env.replace(t.shape[d].node.expr).is_number
                   for t, dims in zip(fakes, free, strict=True) for d in dims)
    return not constant and not env.guards


def _library(graph: fx.GraphModule, fakes: Sequence[Tensor]) -> Callable[..., None]:
    """The graph as a shared library: loaded where there is one, else built."""
    path = private(folder() / "graphs") / f"{_fingerprint(graph)}.so"
    run = _loaded(path)
    if run is None:
        with _alone(path):
            run = _loaded(path)
            if run is None:
                _build(graph, fakes, path)
                run = torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1).run

    def call(*tensors: Tensor) -> None:
        run(list(tensors))

    return call


def _loaded(path: Path) -> Callable[[list[Tensor]], list[Tensor]] | None:
    """What a library does; None where there is none, or a damaged one."""
    try:
        return torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1).run
    except RuntimeError:
        return None


def _build(graph: fx.GraphModule, fakes: Sequence[Tensor], path: Path) -> None:
    from torch._inductor import aot_compile

    with torch.no_grad(), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        built = aot_compile(graph, tuple(fakes), options=_options())
        whole = Path(shutil.copy(built, Path(scratch) / path.name))
        whole.replace(path)


def _jit(graph: fx.GraphModule, examples: Sequence[Tensor]) -> Callable[..., None]:
    from torch._inductor import standalone_compile

    with torch.no_grad():
        return standalone_compile(graph, list(examples), dynamic_shapes="from_graph",
                                  options={"config_patches": _options()})


def _options() -> dict[str, Any]:
    from torch._inductor import config

    options = {"cpp.threads": torch.get_num_threads(), "triton.cudagraphs": False}
    if hasattr(config, "deterministic"):
        options["deterministic"] = True  # no choice of kernels by timing them
    return options


def _fingerprint(graph: fx.GraphModule) -> str:
    """Equal for graphs that compute the same, on machines where they can share a library."""
    told = [*versions(), str(torch.get_num_threads()), graph.code]
    for node in graph.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            told.append(f"{node.name} {value.dtype} {tuple(value.shape)} {value.stride()}")
        if node.op == "get_attr":
            constant = getattr(graph, node.target)
            told.append(f"{node.name} {constant.detach().cpu().numpy().tobytes().hex()}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def versions() -> tuple[str, ...]:
    """What a compiled graph is made by and for."""
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), processor()


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
def _alone(path: Path) -> Iterator[None]:
    """While no other process builds the same: it waits, and finds what that one has built."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the compiler logs: what matters of it comes back as an exception."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
