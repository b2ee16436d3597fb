"""Models by name: which options each has, and building one for given data."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables import userfunction
from trainables.errors import InputError
from trainables.options import (
    Option,
    Table,
    choice,
    did_you_mean,
    fill,
    flag,
    number,
    optional,
    whole,
)

if TYPE_CHECKING:
    from torch import nn

COMMON: Table = {
    "init": choice("default", ("default", "he", "glorot")),
    "init_scale": number(1.0, lambda v: 0 < v <= 1e6, "a number above 0, at most 1e6"),
}
ACTIVATION = choice("relu", ("relu", "tanh", "gelu", "elu", "sigmoid", "silu", "softplus",
                             "leaky_relu", "selu"))
DROPOUT = number(0.0, lambda v: 0 <= v < 1, "a number from 0 to below 1")
WIDTH, DEPTH = 64, 2


def _is_widths(value: Any) -> bool:
    sizes = isinstance(value, list | tuple) and 1 <= len(value) <= 1000
    return sizes and all(whole(1, 1, 100_000).accepts(v) for v in value)


def _convolutional(width: int, *, batch_norm: bool) -> dict[str, Option]:
    return {"width": whole(width, 1, 4096), "activation": ACTIVATION,
            "batch_norm": flag(batch_norm)}


RESNETS = {f"resnet{depth}": depth for depth in (8, 20, 32, 56)}
MODELS: Mapping[str, Table] = {
    "linear": {},
    "mlp": {
        "width": optional(whole(None, 1, 100_000)), "depth": optional(whole(None, 1, 1000)),
        "widths": optional(Option(None, _is_widths, "a list of whole numbers like [500, 300, 100]",
                                  list)),
        "activation": ACTIVATION, "batch_norm": flag(False), "dropout": DROPOUT,
    },
    "simple_cnn": {**_convolutional(32, batch_norm=False), "dense": whole(128, 1, 100_000),
                   "dropout": DROPOUT},
    "vgg11": {**_convolutional(64, batch_norm=False), "dropout": DROPOUT},
    **{name: _convolutional(16, batch_norm=True) for name in RESNETS},
}
FORMS = (*MODELS, "torchvision:NAME", "module:function")


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """The model's whole config: every option, defaults filled in. Resolving twice changes nothing.

    Of torchvision:NAME and module:function all keys but name, init and init_scale are passed on.
    """
    name = config.get("name")
    if not isinstance(name, str):
        raise InputError("model has no name", key="model.name",
                         fix=f"write one of {', '.join(FORMS)}")
    given = {k: v for k, v in config.items() if k != "name"}
    if ":" in name:
        _check_reference(name)
        ours = {k: v for k, v in given.items() if k in COMMON}
        theirs = {k: v for k, v in given.items() if k not in COMMON}
        return {"name": name, **fill(ours, COMMON, section="model", subject=name), **theirs}
    if name not in MODELS:
        raise InputError(f"unknown model `{name}`", key="model.name",
                         fix=did_you_mean(name, FORMS, "models"))
    options = fill(given, {**MODELS[name], **COMMON}, section="model", subject=f"model {name}")
    return {"name": name, **(_hidden(options) if name == "mlp" else options)}


def _check_reference(name: str) -> None:
    if not name.startswith("torchvision:"):
        userfunction.check_name(name, key="model.name")
    elif not re.fullmatch(r"torchvision:[A-Za-z]\w*", name):
        raise InputError(f"`{name}` names no torchvision model", key="model.name",
                         fix="write it like torchvision:resnet18")


def _hidden(options: dict[str, Any]) -> dict[str, Any]:
    """Either widths, or width and depth; the others are null."""
    given = [k for k in ("width", "depth") if options[k] is not None]
    if options["widths"] is None:
        return {**options, "width": options["width"] or WIDTH, "depth": options["depth"] or DEPTH}
    if given:
        raise InputError(f"mlp has both widths and {given[0]}", key=f"model.{given[0]}",
                         fix="give widths, or width and depth")
    return options


def build(config: Mapping[str, Any], input_shape: tuple[int, ...], classes: int,
          base_dir: Path) -> "nn.Module":
    """The model, initialised from torch's global generator, which the caller has seeded.

    InputError if it cannot take the data's inputs, does not give one output a class, or draws
    random numbers that do not come from the run's seed.
    """
    from trainables import architectures

    config = resolve(config)
    name, init, scale = config["name"], config["init"], config["init_scale"]
    options = {k: v for k, v in config.items() if k not in ("name", *COMMON)}
    module = _construct(name, options, tuple(input_shape), classes, base_dir)
    if init != "default":
        architectures.initialise(module, init)
    if scale != 1.0:
        architectures.rescale(module, scale)
    _try_forward(module, name, tuple(input_shape), classes)
    return module


def _construct(name: str, options: dict[str, Any], shape: tuple[int, ...], classes: int,
               base_dir: Path) -> "nn.Module":
    from trainables import architectures

    if name.startswith("torchvision:"):
        return _from_torchvision(name.removeprefix("torchvision:"), options, classes)
    if ":" in name:
        return _from_function(name, options, shape, classes, base_dir)
    if name in RESNETS:
        return architectures.resnet(shape, classes, depth=RESNETS[name], **options)
    if name == "mlp":
        width, depth = options.pop("width"), options.pop("depth")
        options["widths"] = options["widths"] or [width] * depth
    return getattr(architectures, name)(shape, classes, **options)


def _from_torchvision(name: str, options: dict[str, Any], classes: int) -> "nn.Module":
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"torchvision has no classification model `{name}`", key="model.name",
                         fix=did_you_mean(name, known, "models"))
    try:
        return models.get_model(name, weights=None, **{"num_classes": classes, **options})
    except (TypeError, ValueError) as error:
        raise InputError(f"torchvision:{name} refuses its options: {error}", key="model",
                         fix="see torchvision's documentation of this model") from error


def _from_function(name: str, options: dict[str, Any], shape: tuple[int, ...], classes: int,
                   base_dir: Path) -> "nn.Module":
    from torch import nn

    made = userfunction.call(name, base_dir, (shape, classes), options, key="model.name")
    if not isinstance(made, nn.Module):
        raise InputError(f"{name} returned {type(made).__name__}, not a torch.nn.Module",
                         key="model.name", fix="return the module, freshly initialised")
    return made


def _try_forward(module: "nn.Module", name: str, shape: tuple[int, ...], classes: int) -> None:
    """Two examples through the training form, without touching torch's global generator."""
    import torch

    from trainables import layers

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        before = torch.random.get_rng_state()
        try:
            out = layers.training_form(module).train()(torch.zeros(2, *shape))
        except Exception as error:
            raise InputError(
                f"model {name} cannot take inputs of shape {shape}: {_first_line(error)}",
                key="model.name", fix="choose a model for such inputs") from error
        drew = not torch.equal(before, torch.random.get_rng_state())
    if not isinstance(out, torch.Tensor) or tuple(out.shape) != (2, classes):
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise InputError(f"model {name} gives {got} for 2 examples, not (2, {classes})",
                         key="model.name", fix="give one number a class and example")
    if drew:
        raise InputError(
            f"model {name} draws random numbers outside nn.Dropout, so its runs could not be "
            "repeated", key="model.name",
            fix="use nn.Dropout modules; for torchvision set e.g. stochastic_depth_prob: 0.0")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
