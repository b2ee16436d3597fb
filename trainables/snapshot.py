"""PackState to bytes and back: tensors and JSON, never pickled."""

import json
from typing import Any

import torch
from torch import Tensor

from trainables.pack import Pack, PackState

_FIELDS = ("outcome", "end_step", "end_loss", "measure_ge", "extra_ge")
_MOMENTS = ("velocity", "second")
_SCALARS = ("step", "observed", "seconds", "final")


def dump(state: PackState) -> bytes:
    """The state as safetensors with a JSON header; equal states give equal bytes."""
    from safetensors.torch import save

    scalars = {name: getattr(state, name) for name in _SCALARS}
    tensors = {n: t.detach().contiguous().cpu() for n, t in _tensors(state).items()}
    return save(tensors, metadata={"state": json.dumps(scalars, sort_keys=True)})


def load(content: bytes, pack: Pack) -> PackState:
    """The state on the pack's device. ValueError where it does not fit the pack."""
    tensors, scalars = _parse(content)
    template = pack.init()
    like = _tensors(template)
    unknown = sorted(n for n in tensors.keys() - like.keys() if not n.startswith("memory/"))
    if unknown:
        raise ValueError(f"state of another pack: it has {unknown}")
    placed = {n: _placed(tensors.get(n), t, n) for n, t in like.items()}
    memory = {n.removeprefix("memory/"): torch.clone(t).to(pack.device)
              for n, t in tensors.items() if n.startswith("memory/")}
    for name, kept in memory.items():
        if kept.dim() == 0 or len(kept) != pack.width:
            raise ValueError(f"state of another pack: memory/{name} is {tuple(kept.shape)}, "
                             f"not ({pack.width}, …)")
    params = {n: placed[f"params/{n}"] for n in template.params}
    moments = {f: like and {n: placed[f"{f}/{n}"] for n in like}
               for f in _MOMENTS for like in [getattr(template, f)]}
    return PackState(
        params=params, memory=memory, directions=placed.get("directions"), **moments,
        **{f: placed[f] for f in _FIELDS}, **scalars)


def dump_weights(weights: dict[str, Tensor]) -> bytes:
    """A plain state_dict as safetensors."""
    from safetensors.torch import save

    return save({n: t.detach().contiguous().cpu() for n, t in weights.items()})


def _parse(content: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load as load_tensors

    try:
        size = int.from_bytes(content[:8], "little")
        scalars = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["state"])
        return load_tensors(content), {name: scalars[name] for name in _SCALARS}
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a pack's state: {error}") from error


def _tensors(state: PackState) -> dict[str, Tensor]:
    tensors = {f"params/{n}": t for n, t in state.params.items()}
    tensors |= {f"{f}/{n}": t for f in _MOMENTS for n, t in (getattr(state, f) or {}).items()}
    if state.directions is not None:
        tensors["directions"] = state.directions
    tensors |= {f"memory/{n}": t for n, t in state.memory.items()}
    return tensors | {f: getattr(state, f) for f in _FIELDS}


def _placed(tensor: Tensor | None, like: Tensor, name: str) -> Tensor:
    if tensor is None or tensor.shape != like.shape or tensor.dtype != like.dtype:
        found = "nothing" if tensor is None else f"{tuple(tensor.shape)} {tensor.dtype}"
        raise ValueError(f"state of another pack: {name} is {found}, "
                         f"not {tuple(like.shape)} {like.dtype}")
    return torch.clone(tensor).to(like.device)
