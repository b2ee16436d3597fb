"""The pack: many SGD runs that share data, model, batch size and length, trained together.

``Pack`` is what does not change while it trains; ``PackState`` is all that the next step needs.
A step changes the state in place and nothing else; measurements are carried by nobody.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainables import layers, models, noise
from trainables.datasets import Dataset
from trainables.engines import ENGINES, Engine
from trainables.epochs import calendar
from trainables.optim import adam, optimizers
from trainables.outcomes import Outcome
from trainables.sampling import Epochs, epoch_indices
from trainables.schedules import measuring_steps, total_steps
from trainables.stepgraph import StepGraph, fixed_tensors
from trainables.streams import derive, sent

Tensors = dict[str, Tensor]
PATH_LENGTH = "path_length"  # the memory that training itself writes, in place
DTYPES = {"fp32": torch.float32, "fp64": torch.float64}


_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Member:
    """One run of a pack: its id and its whole config (plain nested values)."""

    run_id: str
    config: Mapping[str, Any]


@dataclass
class PackState:
    """What the next step needs; changed in place by training, saved as it is."""

    step: int
    params: Tensors                 # name -> (R, …)
    velocity: Tensors | None        # name -> (R, …); None without momentum. Adam: first moment
    outcome: Tensor                 # (R,) int64, codes of outcomes.Outcome
    end_step: Tensor                # (R,) int64, the step at which the run ended
    end_loss: Tensor                # (R,) float64, the loss that ended it
    measure_ge: Tensor              # (R,) float64, gradient equivalents of measuring so far
    extra_ge: Tensor                # (R,) float64, of training beyond its minibatch gradients
    observed: int = -1              # the last step whose measuring is done
    seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "measure": 0.0})
    final: dict[str, dict[str, float]] = field(default_factory=dict)  # run_id -> last snapshot
    second: Tensors | None = None   # name -> (R, …); Adam's second moment, not corrected
    directions: Tensor | None = None  # (R, k, P), nudged SGD's; replaced, never changed in place
    memory: Tensors = field(default_factory=dict)  # (R, …): kept by monitors for the next snapshot

    @property
    def alive(self) -> Tensor:
        """(R,) bool: the runs that still train."""
        return self.outcome == Outcome.RUNNING.code

    def copy(self) -> "PackState":
        """A state that updates may change without touching this one."""
        changed = {f: getattr(self, f) for f in ("params", "velocity", "second")}
        ended = {f: getattr(self, f).clone() for f in ("outcome", "end_step", "end_loss")}
        memory = {n: t.clone() if n == PATH_LENGTH else t for n, t in self.memory.items()}
        return replace(self, memory=memory, **ended, **{
            f: {n: t.clone() for n, t in tensors.items()}
            for f, tensors in changed.items() if tensors is not None})


class Pack:
    """Data on the device, model forms and per-run constants of ``width`` runs.

    ``members`` beyond the first ``len(members)`` up to ``width`` are padding: copies of the last
    member that are masked from the start, because the width is part of the numerics.
    """

    def __init__(self, members: Sequence[Member], data: Dataset, *, width: int, engine: str,
                 device: torch.device, base_dir: Path):
        first = members[0].config
        self.members, self.width, self.device = tuple(members), width, device
        self.base_dir = base_dir
        self.engine: Engine = ENGINES[engine]
        self.dtype = DTYPES[first["precision"]]
        self.train, self.measure = first["train"], first["measure"]
        self.classes, self.data_sha256 = data.classes, data.sha256
        padded = list(members) + [members[-1]] * (width - len(members))
        self.configs = [m.config for m in padded]
        self.seeds = [c["seed"] for c in self.configs]
        self._place_data(data, first["data"]["seed"])
        self._place_rates()
        self.batch_size = first["train"]["batch_size"]
        self.steps_per_epoch = self.train_size // self.batch_size  # where S is constant
        self.calendar = calendar(self.train_size, self.train)
        self.steps = total_steps(self.train, self.calendar)
        self.measuring = frozenset(
            measuring_steps(self.measure["when"], self.calendar, self.steps))
        self._place_model(first["model"], tuple(data.x_train.shape[1:]), base_dir)
        self.epoch = self.epochs_of(self.seeds)
        self.narrowings: dict[tuple, bool] = {}  # which keep the bits (see ``narrowing``)
        self.step_tensors = fixed_tensors(self)
        self._own = next(_NUMBERS) if ":" in first["model"]["name"] else 0
        self.graph: StepGraph | None = None  # of the step, made when first needed

    def _place_data(self, data: Dataset, seed: int) -> None:
        place = lambda a: torch.as_tensor(a).to(self.device, self.dtype)  # noqa: E731
        self.x_train, self.x_test = place(data.x_train), place(data.x_test)
        self.y_test = torch.as_tensor(data.y_test).to(self.device)
        self.train_size, self.test_size = len(data.x_train), len(data.x_test)
        clean = torch.as_tensor(data.y_train)
        rank, redrawn = map(torch.as_tensor, noise.label_noise(data.y_train, data.classes, seed))
        victims = self._victims(rank, "label")
        self.labels = torch.where(victims, redrawn, clean).to(self.device)  # (R, N)
        self.clean_labels = clean.to(self.device)  # (N,)
        self.label_victims = victims.to(self.device)  # (R, N) bool, a label redrawn alike too
        self.noisy_inputs, self.noise = None, None
        if any(c["noise"]["input"] > 0 for c in self.configs):
            rank, drawn = noise.input_noise(data.x_train, seed)
            self.noisy_inputs = self._victims(torch.as_tensor(rank), "input").to(self.device)
            self.noise = place(drawn)
        size = min(self.measure.get("set_size") or min(self.train_size, 2048), self.train_size)
        order = torch.randperm(
            self.train_size, generator=torch.Generator().manual_seed(derive(seed, "measure")))
        full = size == self.train_size
        self.measure_set = (torch.arange(size) if full else order[:size]).to(self.device)
        self.calibration_set = order[: min(self.train_size, 1024)].to(self.device)

    def _victims(self, rank: Tensor, kind: str) -> Tensor:
        """(R, N) bool: the examples whose rank lies below the run's noisy fraction of N."""
        count = torch.tensor([round(c["noise"][kind] * len(rank)) for c in self.configs])
        return rank < count[:, None]

    def _place_rates(self) -> None:
        def rates(section: str, key: str) -> Tensor:
            values = [c[section].get(key, 0.0) for c in self.configs]
            return torch.tensor(values, dtype=self.dtype, device=self.device)

        self.lr, self.momentum = rates("train", "lr"), rates("train", "momentum")
        self.weight_decay = rates("train", "weight_decay")
        self.gradient_noise = rates("noise", "gradient")
        self.fisher_penalty = rates("train", "fisher_penalty")
        self.has_fisher_penalty = bool(self.fisher_penalty.any())
        self.has_momentum = bool(self.momentum.any())
        self.has_decay = bool(self.weight_decay.any())
        self.has_gradient_noise = bool(self.gradient_noise.any())
        self.optimizer = optimizers.place(self.configs, self.device)

    def _place_model(self, model: Mapping, shape: tuple[int, ...], base_dir: Path) -> None:
        built = {s: _initialised(model, s, shape, self.classes, base_dir).to(
            self.device, self.dtype) for s in set(self.seeds)}
        some = built[self.seeds[0]]
        self.trainer: nn.Module = layers.training_form(
            some, packed=self.engine.packed and self.engine.compiled).train()
        self.evaluator: nn.Module = layers.evaluation_form(some).eval()
        self.template = some
        self.initial = _stack([dict(built[s].named_parameters()) for s in self.seeds])
        copies = [dict(self.evaluator.named_buffers())] * self.width
        self.statistics = _stack(copies) if copies[0] else {}
        self.has_batch_norm = any(
            isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.evaluator.modules())
        self.keys = [f"{n}.key" for n, m in self.trainer.named_modules()
                     if isinstance(m, layers.KeyedDropout)]
        constant = {n: b for n, b in self.trainer.named_buffers() if n not in self.keys}
        self.constants = _stack([constant] * self.width) if constant else {}
        self.parameters = sum(p[0].numel() for p in self.initial.values())

    def kind(self) -> str:
        """Equal for packs whose graphs may be shared: all that is no tensor of theirs and no size.

        A graph made for one of them holds for the others, its inputs having the same shapes. A
        model of the user's shares with none: it may hold what its code or its seed has put there.
        """
        shared = [self.train[n] for n in ("loss", "nesterov", "max_loss")]
        return json.dumps([
            self.configs[0]["model"], self._own, str(self.base_dir), self.classes, str(self.dtype),
            str(self.device), self.engine.name, self.optimizer.name, *shared, self.has_momentum,
            self.has_decay, self.has_gradient_noise, torch.get_num_threads()], sort_keys=True)

    def init(self) -> PackState:
        """The state before the first step; padding is masked."""
        r, real = self.width, len(self.members)
        outcome = torch.full((r,), Outcome.RUNNING.code)
        outcome[real:] = Outcome.FINISHED.code
        params = {n: p.clone() for n, p in self.initial.items()}
        moment = lambda: {n: torch.zeros_like(p) for n, p in params.items()}  # noqa: E731
        is_adam, nudge = self.optimizer.adam is not None, self.optimizer.nudge
        zeros = torch.zeros(r, dtype=torch.float64)
        return PackState(
            step=0, params=params, velocity=moment() if self.has_momentum or is_adam else None,
            second=moment() if is_adam else None, outcome=outcome.to(self.device),
            end_step=torch.zeros(r, dtype=torch.int64, device=self.device),
            end_loss=zeros.to(self.device), measure_ge=zeros.clone(), extra_ge=zeros.clone(),
            directions=None if nudge is None else torch.zeros(
                r, nudge.k, self.parameters, dtype=self.dtype, device=self.device))

    def preconditioner(self, state: PackState) -> Tensors | None:
        """Adam's P at the state's step, name -> (R, …) (see ``adam``); else None."""
        if self.optimizer.adam is None:
            return None
        return adam.preconditioner(state.second, self.optimizer.adam, state.step)

    def epochs_of(self, seeds: Sequence[int]) -> "Epochs":
        """(R, ⌊N/S⌋, S) indices of the minibatches of runs of these seeds, by epoch."""
        return Epochs(lambda number: epoch_indices(
            seeds, number, train_size=self.train_size,
            batch_size=self.calendar.batch_size(number),
            replacement=self.train["sampling"] == "with_replacement"), self.device)

    def batch(self, index: Tensor, runs: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """The examples (R', S, …) and labels (R', S) of some runs at their (R', S) indices."""
        x = self.x_train[index]
        if self.noisy_inputs is not None:
            victim = self.noisy_inputs[runs].gather(1, index)
            x = torch.where(victim.view(*victim.shape, *(1,) * (x.dim() - 2)), self.noise[index], x)
        return x, self.labels[runs].gather(1, index)

    def examples(self, index: Tensor, runs: slice) -> tuple[Tensor, Tensor, bool]:
        """Inputs and labels (R', n) of some runs at shared (n,) indices; whether x is shared."""
        labels = self.labels[runs][:, index]
        x = self.x_train[index]
        if self.noisy_inputs is None:
            return x, labels, True
        victim = self.noisy_inputs[runs][:, index]
        victim = victim.view(*victim.shape, *(1,) * (x.dim() - 1))
        return torch.where(victim, self.noise[index], x), labels, False

    def dropout_keys(self, step: int) -> Tensors:
        """The buffers of the training form with this step's dropout keys, one a run."""
        return self.buffers(self.keys_at(step))

    def keys_at(self, step: int) -> Tensor | None:
        """(R,) int64 dropout keys of that step; None where the model drops nothing out."""
        if not self.keys:
            return None
        drawn = {s: derive(s, "dropout", step) for s in set(self.seeds)}
        return sent(torch.tensor([drawn[s] for s in self.seeds]), self.device)

    def buffers(self, keys: Tensor | None) -> Tensors:
        """The buffers of the training form, name -> (R, …), dropout drawing from ``keys``."""
        return self.constants if keys is None else self.constants | dict.fromkeys(self.keys, keys)


def _initialised(model: Mapping, seed: int, shape, classes: int, base_dir: Path) -> nn.Module:
    """The model as torch's own generator, seeded by the run's seed, initialises it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init"))
        return models.build(model, shape, classes, base_dir)


def _stack(rows: Sequence[Mapping[str, Tensor]]) -> Tensors:
    return {n: torch.stack([row[n].detach() for row in rows]) for n in rows[0]}
