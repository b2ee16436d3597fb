"""What a user's monitor returned, held against what it declared; and what it left alone."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainables.curves import Curve
from trainables.errors import InputError

if TYPE_CHECKING:
    from trainables.monitors import Monitor
    from trainables.probe import Probe

KINDS = ("columns", "spectra", "curves")


def checked(monitor: "Monitor", found: Any, *, runs: int) -> dict[str, Any]:
    """``found``, if it is all that the monitor declares and nothing else.

    A column is a tensor (R,) of numbers, an operator of ``spectra`` one of (R, k), a quantity of
    ``curves`` a Curve or a list of them with values (R, n), for the R = ``runs`` of the block.
    InputError, which names the monitor and the value, for anything else.
    """
    if not isinstance(found, Mapping):
        raise _wrong(f"{monitor.name} returned {_kind(found)}",
                     "return a dict, name -> tensor (R,)")
    declared = {name: kind for kind in KINDS for name in getattr(monitor, kind)}
    for name in found:
        if name not in declared:
            raise _wrong(f"{monitor.name} returned `{name}`, which it does not declare",
                         f"it declares: {', '.join(declared)}")
    for name, kind in declared.items():
        if name not in found:
            raise _wrong(f"{monitor.name} declares `{name}` and did not return it",
                         "return NaN where it is undefined")
        _check_value(monitor.name, name, kind, found[name], runs)
    return dict(found)


def _check_value(monitor: str, name: str, kind: str, value: Any, runs: int) -> None:
    if kind == "curves":
        curves = value if isinstance(value, list) else [value]
        if not all(isinstance(c, Curve) for c in curves):
            raise _wrong(f"{monitor} returned {_kind(value)} as `{name}`",
                         "return a trainables.curves.Curve, or a list of them")
        for c in curves:
            _check_curve(f"{monitor} returned a curve", name, c, runs)
        return
    wanted = f"({runs},)" if kind == "columns" else f"({runs}, k)"
    shape = tuple(value.shape) if isinstance(value, Tensor) else None
    if shape is None or value.is_complex():
        raise _wrong(f"{monitor} returned {_kind(value)} as `{name}`",
                     f"return a tensor of real numbers {wanted}: one row a run")
    if len(shape) != (1 if kind == "columns" else 2) or shape[0] != runs:
        raise _wrong(f"{monitor} returned a tensor of shape {shape} as `{name}`, not {wanted}",
                     "keep the dimension of the runs, in front, and reduce over the others")


def _check_curve(what: str, name: str, c: Curve, runs: int) -> None:
    if not isinstance(c.value, Tensor) or c.value.is_complex():
        raise _wrong(f"{what} whose value is {_kind(c.value)} as `{name}`",
                     f"values are a tensor of real numbers ({runs}, n)")
    shape = tuple(c.value.shape)
    if len(shape) != 2 or shape[0] != runs:
        raise _wrong(f"{what} of shape {shape} as `{name}`",
                     f"values are ({runs}, n): one curve a run")
    if not isinstance(c.x, Tensor) or c.x.is_complex() or tuple(c.x.shape) not in (
            shape, shape[1:]):
        given = f"of shape {tuple(c.x.shape)}" if isinstance(c.x, Tensor) else _kind(c.x)
        raise _wrong(f"{what} whose x is {given} as `{name}`",
                     f"x is a tensor {shape[1:]}, or {shape}: a place for each value")
    if not isinstance(c.series, str):
        raise _wrong(f"{what} whose series is {_kind(c.series)} as `{name}`", "give a text")


@contextmanager
def untouched(monitor: "Monitor", probe: "Probe") -> Iterator[None]:
    """InputError where the model's parameters were written to, or replaced, in the meantime.

    Seen are torch's operations in place, on the parameters or a view of them; not what goes by
    ``.data`` or NumPy.
    """
    before = {n: (p, p._version) for n, p in probe.params.items()}
    yield
    changed = [n for n, (p, version) in before.items()
               if p._version != version or probe.params.get(n) is not p]
    if changed:
        raise _wrong(f"{monitor.name} changes the model's parameters ({changed[0]})",
                     "work on a clone")


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}"
    return f"{'an' if type(value).__name__[0] in 'aeiou' else 'a'} {type(value).__name__}"


def _wrong(what: str, fix: str) -> InputError:
    return InputError(f"{what} ({fix})", key="measure.monitors", fix=fix)
