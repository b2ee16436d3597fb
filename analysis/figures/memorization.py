"""Noise and memorization: critical samples and accuracies against the noise, and over epochs."""

import numpy as np
import pandas as pd

from analysis.figures import theme
from analysis.figures.cells import bands, spaced
from analysis.figures.chart import Axis, Look, panel
from analysis.figures.theme import KINDS, Figure, Panel
from analysis.frames import NOISES, Sweep
from analysis.labels import EPOCH, listed, number, significant

_CSR = "critical_sample_ratio"
_FRACTIONS = ("label_noise", "input_noise")
_PARTS = {"clean_accuracy": "training, clean", "corrupted_accuracy": "training, corrupted",
          "test_accuracy": "test"}


def noise_figure(sweep: Sweep) -> Figure | None:
    """Final critical sample ratio, and best and final test accuracy, against the fraction of noise.
    None where fewer than two fractions were run."""
    rows = _by_noise(sweep)
    if rows.empty:
        return None
    kinds = [k for k in _FRACTIONS if (rows["noise"] == k).any()]
    tones = {k: KINDS[i] for i, k in enumerate(kinds)}
    words = {k: k.replace("_", " ") for k in kinds}
    panels, said, keys = [], {}, ()
    for quantity, name, tex in ((_CSR, "critical", "critical sample ratio at the end"),
                                ("test_accuracy", "accuracy", "test accuracy")):
        frame = _ends(rows, quantity, both=quantity != _CSR)
        if frame.empty:
            continue
        whens = list(dict.fromkeys(frame["when"]))
        look = Look("noise", tones, lambda k: words[str(k)], dash="when", dashes=whens,
                    dash_words=lambda w: {"end": "at the end", "best": "best epoch"}[str(w)])
        keys = look.keys if len(look.keys) > len(keys) else keys
        panels.append(panel(f"noise-{name}", f"{tex} against the fraction of noise", frame,
                            Axis("fraction", "fraction of noise"), Axis("value", tex), look))
        for kind in kinds:
            ends = frame[(frame["noise"] == kind) & (frame["when"] == "end")]
            said[kind] = [*said.get(kind, ()), *_goes(ends, quantity)]
    if not panels:
        return None
    caption = " ".join(_as_noise_goes(rows[rows["noise"] == kind], words[kind], goes)
                       for kind, goes in said.items() if goes)
    note = (
        "Means over seeds, the bands their range, other axes averaged. Test examples are clean; a "
        "critical sample changes its prediction within a small radius (Arpit et al. 2017)."
    )
    return Figure("noise", "Critical samples and accuracy against noise", caption, tuple(panels),
                  keys, note)


def _by_noise(sweep: Sweep) -> pd.DataFrame:
    """Snapshots of finished runs, a copy for each kind of noise that varies while the others are
    off, with ``noise`` and ``fraction``."""
    rows = sweep.snapshots[sweep.snapshots["status"] == "finished"]
    found = []
    for kind in _FRACTIONS:
        others = [n for n in NOISES if n != kind]
        alone = rows[(rows[others] == 0).all(axis=1)]
        if alone[kind].nunique() > 1:
            found.append(alone.assign(noise=kind, fraction=alone[kind]))
    return pd.concat(found, ignore_index=True) if found else rows.iloc[:0].assign(noise="")


def _ends(rows: pd.DataFrame, quantity: str, *, both: bool) -> pd.DataFrame:
    """(noise, fraction, when, value, low, high, runs): a value a seed first, then over seeds."""
    if quantity not in rows or rows[quantity].isna().all():
        return pd.DataFrame()
    rows = rows[rows[quantity].notna()]
    keys = ["noise", "fraction", "seed", "run_id"]
    by_run = rows.groupby(keys)[quantity]
    found = [by_run.last().rename("y").reset_index().assign(when="end")]
    if both:
        found.append(by_run.max().rename("y").reset_index().assign(when="best"))
    seeds = pd.concat(found).groupby(["noise", "fraction", "when", "seed"])["y"].mean()
    return seeds.groupby(["noise", "fraction", "when"]).agg(
        value="mean", low="min", high="max", seeds="size").reset_index()


def _goes(frame: pd.DataFrame, quantity: str) -> list[str]:
    if len(frame) < 2:
        return []
    first, last = frame["value"].iloc[0], frame["value"].iloc[-1]
    name = "the critical sample ratio" if quantity == _CSR else "test accuracy"
    return [f"{name} goes from {significant(first)} to {significant(last)}"]


def _as_noise_goes(rows: pd.DataFrame, words: str, goes: list[str]) -> str:
    low, high = (number(of(rows["fraction"])) for of in (min, max))
    return f"As {words} goes from {low} to {high}, {listed(goes)}."


def memorization_figure(sweep: Sweep) -> Figure | None:
    """Over epochs: accuracies on clean, corrupted and test examples at one middling fraction of
    noise, and the critical sample ratio at several. None without a run with noise measured so."""
    if not sweep.measures("corrupted_accuracy"):
        return None
    rows = _by_noise(sweep)
    rows = rows[rows["step"] > 0]
    noisy = rows[rows["corrupted_accuracy"].notna() & (rows["fraction"] > 0)]
    if noisy.empty:
        return None
    kind = noisy["noise"].iloc[0]
    fractions = sorted(noisy.loc[noisy["noise"] == kind, "fraction"].unique())
    middle = min(fractions, key=lambda p: abs(p - 0.5))
    chosen = noisy[(noisy["noise"] == kind) & (noisy["fraction"] == middle)]
    chosen = chosen[chosen["cell"] == chosen["cell"].min()]
    words = f"{kind.replace('_', ' ')} {number(middle)}"
    panels, said = [], []
    found = _accuracies(chosen, words)
    if found is not None:
        panels.append(found[0])
        said.append(found[1])
    keys = found[2] if found is not None else ()
    critical = _critical(rows[rows["noise"] == kind], kind)
    if critical is not None:
        panels.append(critical[0])
        keys = (*keys, *critical[1])
    if not panels:
        return None
    note = f"Means over seeds, the bands their range. Accuracies are at {words}."
    return Figure("memorization", "Memorization over epochs", f"{'; '.join(said)}.", tuple(panels),
                  keys, note)


def _accuracies(rows: pd.DataFrame, words: str) -> tuple[Panel, str, tuple] | None:
    parts = [c for c in _PARTS if rows[c].notna().any()]
    frames = [bands(rows[rows[c].notna()], c, ["cell"], log=False).assign(part=c) for c in parts]
    if not frames:
        return None
    frame = pd.concat(frames, ignore_index=True)
    look = Look("part", {c: KINDS[i] for i, c in enumerate(parts)}, lambda c: _PARTS[str(c)])
    test = frame[frame["part"] == "test_accuracy"]
    bad = frame[frame["part"] == "corrupted_accuracy"]
    said = f"At {words}"
    if len(test):
        best = test.loc[test["middle"].idxmax()]
        at = np.interp(best["epoch"], bad["epoch"], bad["middle"])
        said += (
            f" test accuracy is best ({significant(best['middle'])}) at epoch "
            f"{number(best['epoch'], 2)}, when {significant(at)} of the corrupted examples are "
            f"fitted, and ends at {significant(test['middle'].iloc[-1])} with "
            f"{significant(bad['middle'].iloc[-1])} of them"
        )
    drawn = panel("memorization-accuracy", f"Accuracies over epochs at {words}", frame,
                  Axis("epoch", EPOCH.tex, log=True),
                  Axis("middle", "accuracy", limits=(0.0, 1.02)), look)
    return drawn, said, look.keys


def _critical(rows: pd.DataFrame, kind: str) -> tuple[Panel, tuple] | None:
    if _CSR not in rows or rows[_CSR].isna().all():
        return None
    rows = rows[rows[_CSR].notna()]
    shown = spaced(sorted(rows["fraction"].unique()), 5)
    rows = rows[rows["fraction"].isin(shown)]
    rows = rows[rows["cell"].isin(rows.groupby("fraction")["cell"].min())]
    frame = bands(rows, _CSR, ["fraction"], log=False)
    tones = dict(zip(shown, theme.ramp(len(shown)), strict=True))
    look = Look("fraction", tones, lambda p: f"{kind.replace('_', ' ')} {number(p)}")
    drawn = panel("memorization-critical", "Critical sample ratio over epochs", frame,
                  Axis("epoch", EPOCH.tex, log=True), Axis("middle", "critical sample ratio"), look)
    return drawn, look.keys
