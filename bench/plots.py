# ruff: noqa: T201
"""The figures of docs/performance.md from the benches' newest results.

    python -m bench.plots [--results bench/results] [--out docs/figures]

A figure for each bench that has a result there: pack, gpu, scale, sweep, overhead. Small SVGs whose
text is text, equal for equal results.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import report

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "sgdscope", "font.size": 9,
         "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
OURS, THEIRS, SLOW = "#1f5fa8", "#c8783c", "#9a9a9a"
MARKS = {8: "o", 32: "s", 128: "^"}
Result = Mapping[str, Any]


def pack(result: Result) -> Figure:
    """How many times faster than an eager loop: the automatic choice, and the loop compiled."""
    rows = [r for r in result["rows"] if r["auto_over_eager"]][::-1]
    figure = Figure(figsize=(7, 0.6 + 0.27 * len(rows)), layout="constrained")
    axes, at = figure.subplots(), range(len(rows))
    compiled = [r["auto_over_eager"] / r["auto_over_compiled"] if r["auto_over_compiled"] else None
                for r in rows]
    axes.barh(at, [r["auto_over_eager"] for r in rows], color=OURS, height=0.55,
              label="automatic engine and width")
    axes.plot([c or float("nan") for c in compiled], at, "|", color=THEIRS, ms=11, mew=2.5,
              label="single run, torch.compile")
    axes.axvline(1, color=SLOW, lw=1)
    for y, row in zip(at, rows, strict=True):
        axes.text(row["auto_over_eager"], y, f"  {row['auto']}", va="center", fontsize=7)
    axes.set_yticks(at, [r["shape"] for r in rows])
    axes.set_xlabel("steps of one run per CPU second, eager loop over single runs = 1")
    axes.legend(loc="lower right")
    return figure


def gpu(result: Result) -> Figure:
    """Runs × steps per second over width, a panel a model."""
    rows = [r for r in result["rows"] if "error" not in r]
    models = list(dict.fromkeys(r["model"] for r in rows if r["kind"] == "engine"))
    figure = Figure(figsize=(3 * len(models) + 1, 3.2), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        here = [r for r in rows if r.get("model") == model]
        for size, mark in MARKS.items():
            _by_width(axes, [r for r in here if r.get("batch_size") == size], size, mark)
        axes.set(xscale="log", yscale="log", title=model, xlabel="width")
        axes.set_xscale("log", base=2)
    figure.axes[0].set_ylabel("runs × steps per second")
    figure.axes[-1].legend(fontsize=7)
    return figure


def _by_width(axes: Axes, rows: list[Result], size: int, mark: str) -> None:
    for engine, color in (("vmap-compiled", OURS), ("vmap", THEIRS)):
        found = sorted((r["width"], r["run_steps_per_s"]) for r in rows
                       if r["kind"] == "engine" and r["engine"] == engine)
        if found:
            axes.plot(*zip(*found, strict=True), mark + "-", color=color, ms=4, lw=1,
                      label=f"{engine}, S = {size}")
    for kind, style in (("eager loop", ":"), ("processes", "--")):
        for row in (r for r in rows if r["kind"] == kind):
            axes.axhline(row["run_steps_per_s"], color=SLOW, ls=style, lw=1)


def scale(result: Result) -> Figure:
    """CPU seconds of each phase over the number of runs."""
    figure = Figure(figsize=(5.5, 3.4), layout="constrained")
    axes = figure.subplots()
    for phase, row in result["phases"].items():
        axes.plot([r["asked"] for r in row], [max(r["cpu_s"], 1e-3) for r in row], "o-", ms=3,
                  lw=1, label=phase)
    axes.set(xscale="log", yscale="log", xlabel="runs", ylabel="CPU seconds")
    figure.legend(loc="outside right", fontsize=7)
    return figure


def sweep(result: Result) -> Figure:
    """A whole sweep: ours, and the ways that it is held against."""
    medians = result["median_seconds"]
    figure = Figure(figsize=(6, 0.8 + 0.4 * len(medians)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(medians)[::-1], list(medians.values())[::-1], height=0.5,
              color=[OURS if n == "ours" else THEIRS for n in medians][::-1])
    axes.set_xlabel(f"seconds for {result['runs']} runs, start-up included")
    return figure


def overhead(result: Result) -> Figure:
    """The core seconds of a sweep, part by part."""
    parts = result["core_seconds"]
    figure = Figure(figsize=(6.5, 0.8 + 0.26 * len(parts)), layout="constrained")
    axes = figure.subplots()
    pure = ("work: training", "work: measuring")
    axes.barh(list(parts)[::-1], list(parts.values())[::-1], height=0.6,
              color=[OURS if n in pure else SLOW for n in parts][::-1])
    axes.set_xlabel("core seconds")
    return figure


DRAWN: Mapping[str, Callable[[Result], Figure]] = {
    "pack": pack, "gpu": gpu, "scale": scale, "sweep": sweep, "overhead": overhead}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.plots",
                                     description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--results", type=Path, default=report.RESULTS)
    parser.add_argument("--out", type=Path, default=FIGURES)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWN.items():
        result = report.newest(name, asked.results)
        if result is None:
            print(f"{name}: no result in {asked.results}")
            continue
        place = asked.out / f"{name}.svg"
        with mpl.rc_context(STYLE):
            draw(result).savefig(place, metadata={"Date": None})
        print(f"{name}: {place}, measured {result['date']}")


if __name__ == "__main__":
    main()
