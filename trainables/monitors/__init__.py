"""The monitors: what can be measured of a run at a step. One file a family.

A monitor is a function ``(probe, options) -> {name: value}`` of a ``probe.Probe`` of R runs:
a tensor (R,) is the column ``name`` of the table ``snapshots``; a tensor (R, k) goes to ``spectra``
as the operator ``name`` with indices 1…k (NaN: no row), where ours may add ``name_bound`` (R, k),
the errors' bounds; a ``curves.Curve``, or a list of them, to ``curves`` as the quantity ``name``.
What is undefined for a run is NaN, and ``probe.explain`` says why. ``declared/`` has names,
options, columns and costs only: planning imports no torch.

A user's own monitor is such a function in a module beside the spec, named ``module:function``, with
the attributes ``columns`` (column -> unit or meaning) and, where wanted, ``spectra`` and ``curves``
(name -> meaning), ``options`` (their defaults), ``cost`` (gradient equivalents a snapshot, a
number or a function of (options, sizes); 0 if not said) and ``eigenpairs`` (how many it takes, a
number or a function of options). It returns all that it declares, and nothing else.
"""

import importlib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from trainables import userfunction
from trainables.errors import InputError
from trainables.options import Option, Table, did_you_mean, fill

FAMILIES = tuple(sorted(p.stem for p in (Path(__file__).parent / "declared").glob("[a-z]*.py")))
GUESSED_ROWS = 20  # of each operator and quantity whose monitor does not say how many
COLUMN = re.compile(r"(?!time_|host_|final_|config_)[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Sizes:
    """What a snapshot's cost may depend on: examples of each set and of a batch, and the like."""

    train: int
    test: int
    measure: int
    batch: int
    classes: int = 10  # where the data's are not known
    replacement: bool = False  # whether examples may repeat within a batch

    def whole(self, batch: int) -> bool:
        """Whether a batch of that size is the whole training set, so that there is but one."""
        return batch >= self.train and not self.replacement


@dataclass(frozen=True)
class Rows:
    """About how many rows a snapshot adds of one run, for the room that they need."""

    spectra: int = 0
    curves: int = 0


@dataclass(frozen=True)
class Monitor:
    """A monitor's declaration. ``function`` is ``module:function``, one of ours or the user's."""

    name: str
    function: str
    columns: Mapping[str, str]  # column of snapshots -> unit or meaning
    options: Table
    cost: Callable[[Mapping[str, Any], Sizes], float]  # GE a snapshot, beside the losses
    spectra: Mapping[str, str] = field(default_factory=dict)  # operator -> meaning
    curves: Mapping[str, str] = field(default_factory=dict)  # quantity -> meaning
    base_dir: Path | None = None  # where a user's module is looked for
    # (options, sizes) -> options with which it spends what ``cost`` says, whatever it meets: those
    # it runs with under a budget. None: its cost does not vary.
    steady: Callable[[Mapping[str, Any], Sizes], dict[str, Any]] | None = None
    # options -> how many of the Hessian's eigenpairs it takes from the probe. All monitors share
    # them, so that their search is no part of ``cost``, except that of ``spectrum``.
    eigenpairs: Callable[[Mapping[str, Any]], int] = lambda options: 0  # noqa: ARG005
    # (options, sizes) -> the rows of its spectra and curves. None: a guess (``expected_rows``).
    rows: Callable[[Mapping[str, Any], Sizes], Rows] | None = None

    def resolve(self, options: Mapping[str, Any] | None) -> dict[str, Any]:
        """All options, defaults filled in. InputError for what is unknown or out of range."""
        return fill(options or {}, self.options, section=f"measure.monitors.{self.name}",
                    subject=f"monitor {self.name}")

    def expected_rows(self, options: Mapping[str, Any], sizes: Sizes) -> Rows:
        """About how many rows a snapshot of a run adds to ``spectra`` and ``curves``."""
        if self.rows is not None:
            return self.rows(options, sizes)
        return Rows(GUESSED_ROWS * len(self.spectra), GUESSED_ROWS * len(self.curves))

    def measure(self, probe: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        """What it finds for the probe's runs."""
        if self.base_dir is not None:
            from trainables.returned import checked, untouched

            with probe.owned_by(self.name), untouched(self, probe):
                found = userfunction.call(self.function, self.base_dir, (probe, dict(options)), {},
                                          key="measure.monitors")
            return checked(self, found, runs=len(probe.seeds))
        module, _, function = self.function.partition(":")
        return getattr(importlib.import_module(module), function)(probe, options)


@cache
def _declared(name: str) -> Monitor:
    return importlib.import_module(f"trainables.monitors.declared.{name}").MONITOR


def find(name: Any, base_dir: Path) -> Monitor:
    """The monitor of that name, one of ours or a user's; InputError if there is none."""
    if isinstance(name, str) and name in FAMILIES:
        return _declared(name)
    if not isinstance(name, str) or ":" not in name:
        raise InputError(f"unknown monitor {name!r}", key="measure.monitors",
                         fix=did_you_mean(name, FAMILIES, "monitors")
                         + "; or module:function, your own")
    return _users(name, base_dir)


def _users(name: str, base_dir: Path) -> Monitor:
    function = userfunction.find(name, base_dir, key="measure.monitors")
    short = name.partition(":")[2]

    def declared(attribute: str, form: str) -> dict[str, Any]:
        given = getattr(function, attribute, {})
        texts = attribute == "options" or (isinstance(given, Mapping) and all(
            isinstance(v, str) for v in given.values()))
        if not isinstance(given, Mapping) or not texts or not all(
                isinstance(k, str) for k in given):
            raise InputError(f"{name} has {attribute} that are {given!r}", key="measure.monitors",
                             fix=f"write after it: {short}.{attribute} = {form}")
        return dict(given)

    columns = declared("columns", '{"my_column": "its unit"}')
    if not columns:
        raise InputError(f"{name} does not say which columns it measures", key="measure.monitors",
                         fix=f'write after it: {short}.columns = {{"my_column": "its unit"}}')
    for column in columns:
        if not COLUMN.fullmatch(column):
            raise InputError(f"{name} declares the column {column!r}", key="measure.monitors",
                             fix="use a-z, 0-9 and _, without the prefixes time_, host_, final_ "
                                 "and config_")
    table = {n: _alike(v) for n, v in declared("options", '{"my_option": 1}').items()}
    spectra = declared("spectra", '{"my_operator": "what it is"}')
    curves = declared("curves", '{"my_curve": "what it is"}')
    cost, pairs = (getattr(function, attribute, 0) for attribute in ("cost", "eigenpairs"))
    return Monitor(
        name, name, columns, table,
        _users_number(f"the cost of {name}", cost, lambda v: 0 <= v < math.inf,
                      "gradient equivalents a snapshot, from 0"),
        spectra=spectra, curves=curves, base_dir=base_dir,
        eigenpairs=_users_number(f"the number of eigenpairs of {name}", pairs,
                                 lambda v: v in range(1001), "a whole number, from 0 to 1000"))


def _users_number(what: str, given: Any, accepts: Callable[[float], bool], form: str
                  ) -> Callable[..., Any]:
    """What a user declared, as a function whose value is checked when it is asked for."""
    def found(*arguments: Any) -> float:
        try:
            value = float(given(*arguments) if callable(given) else given)
        except Exception as error:
            raise InputError(f"{what} raised {type(error).__name__}: {error}",
                             key="measure.monitors", fix="mend it") from error
        if not accepts(value):
            raise InputError(f"{what} is {value:g}", key="measure.monitors", fix=f"give {form}")
        return int(value) if value == int(value) else value

    return found


def _alike(default: Any) -> Option:
    """An option that takes what its default is like: numbers for a number; anything for None."""
    kind = type(default)
    if default is None:
        return Option(None, lambda _: True, "anything")
    if kind in (int, float):
        def accepts(value: Any) -> bool:
            return isinstance(value, int | kind) and not isinstance(value, bool)
    else:
        def accepts(value: Any) -> bool:
            return isinstance(value, kind)
    return Option(default, accepts, f"a value like {default!r}", kind)


def snapshot_cost(chosen: Iterable[tuple[str, Mapping[str, Any]]], sizes: Sizes,
                  base_dir: Path) -> float:
    """Declared gradient equivalents of one snapshot: losses, gradient and all monitors.

    The Hessian's eigenpairs count once, however many monitors take them.
    """
    chosen = list(chosen)
    losses = (sizes.train + sizes.test) / sizes.measure / 3
    return 1 + losses + eigenpairs_cost(chosen, sizes, base_dir) + sum(
        find(name, base_dir).cost(o, sizes) for name, o in chosen)


def eigenpairs_wanted(chosen: Iterable[tuple[str, Mapping[str, Any]]], base_dir: Path) -> int:
    """How many of the Hessian's eigenpairs monitors take, beside those that ``spectrum`` seeks."""
    return max((find(name, base_dir).eigenpairs(o) for name, o in chosen), default=0)


def steadied(chosen: Iterable[tuple[str, Mapping[str, Any]]], sizes: Sizes,
             base_dir: Path) -> list[tuple[str, dict[str, Any]]]:
    """The monitors with the options by which each spends what it declares, whatever it meets.

    The search of ``spectrum`` is that for as many eigenpairs as any of them takes; what it reports
    stays as it is.
    """
    chosen = list(chosen)
    k, result = eigenpairs_wanted(chosen, base_dir), []
    for name, options in chosen:
        steady, fixed = find(name, base_dir).steady, dict(options)
        if steady is not None and name == "spectrum":
            fixed = {**steady({**options, "k": max(k, options["k"])}, sizes), "k": options["k"]}
        elif steady is not None:
            fixed = steady(options, sizes)
        result.append((name, fixed))
    return result


def eigenpairs_cost(chosen: Iterable[tuple[str, Mapping[str, Any]]], sizes: Sizes,
                    base_dir: Path) -> float:
    """GE of the eigenpairs that monitors take from the probe, beside those of ``spectrum``'s cost.

    The search is that of ``spectrum`` by its options, or by the defaults without lambda_min and
    trace where it is not chosen; of as many pairs as the most demanding monitor takes.
    """
    chosen = list(chosen)
    k = eigenpairs_wanted(chosen, base_dir)
    if k == 0:
        return 0.0
    spectrum, given = _declared("spectrum"), dict(chosen).get("spectrum")
    search = {n: (given or {}).get(n, o.default) for n, o in spectrum.options.items()
              if n in ("k", "tolerance", "max_products")}
    search |= {"lambda_min": bool(given) and given["lambda_min"], "trace": False}
    known = spectrum.cost(spectrum.resolve(search), sizes) if given else 0.0
    more = spectrum.resolve({**search, "k": max(k, search["k"] if given else 1)})
    return max(0.0, spectrum.cost(more, sizes) - known)
