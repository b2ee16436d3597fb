"""Whether and how a model can be trained on its data: built once, before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainables import choice, engines, layers, memory, models
from trainables.errors import InputError


@dataclass(frozen=True)
class Suitability:
    """The engine and widest pack by the rule table, and the number of trainable parameters.

    ``compiled``: the engine with its step compiled, or None where that cannot be.
    """

    engine: str
    limit: int
    parameters: int
    work: choice.Work
    compiled: str | None


def examine(config: Mapping[str, Any], shape: tuple[int, ...], classes: int, base_dir: Path,
            *, device: str, sharing: int | None = None) -> Suitability:
    """From building the run's model and trying a pack of two. InputError if it cannot be built.

    ``sharing``: how many packs are to be at once on the machine, or on one of its GPUs; None for a
    width that does not look at memory.
    """
    built = models.build(config["model"], shape, classes, base_dir)
    parameters = sum(p.numel() for p in built.parameters())
    if not parameters:
        raise InputError("the model has no trainable parameters", key="model",
                         fix="return an nn.Module with parameters")
    frozen = [n for n, p in built.named_parameters() if not p.requires_grad]
    if frozen:
        raise InputError(f"the model's parameter {frozen[0]} is frozen", key="model",
                         fix="register what is not trained as a buffer")
    kind = torch.device("cuda" if device == "cuda" or
                        (device == "auto" and torch.cuda.is_available()) else "cpu")
    vectorises = _vectorises(built, shape, config["train"]["loss"])
    work = choice.work_of(built.eval(), torch.zeros(2, *shape), vectorises=vectorises)
    engine, limit = choice.choose(work, batch_size=config["train"]["batch_size"], device=kind)
    if sharing is not None:
        limit = memory.widest_pack(built, config, shape, device=kind, sharing=sharing,
                                   packed=engine == "vmap", most=limit)
    compiled = choice.compiled(
        work, engine, batch_size=config["train"]["batch_size"], device=kind)
    compiled = compiled if choice.can_compile() else None
    return Suitability(engine, limit, parameters, work, compiled)


def _vectorises(built: torch.nn.Module, shape: tuple[int, ...], loss: str) -> bool:
    trainer = layers.training_form(built).train()
    params, buffers = (
        {n: torch.stack([t.detach()] * 2) for n, t in named}
        for named in (trainer.named_parameters(), trainer.named_buffers()))
    x, y = torch.zeros(2, 2, *shape), torch.zeros(2, 2, dtype=torch.int64)
    return engines.vectorises(trainer, params, buffers, x, y, loss)
