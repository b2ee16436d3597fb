"""Commands that read the tables of sweeps."""

from pathlib import Path

import click

from orchestrator.commands.command import DONE, FOLDER, as_json, folder, kind
from orchestrator.stores import Place


@click.command()
@folder
@click.option("--metric", "metrics", multiple=True, metavar="NAME",
              help="Fit the laws to this column too; may be repeated.")
@click.option("--at", "places", multiple=True, metavar="POINT",
              help="Where: end (the default), peak, epoch:5 or loss:0.1; may be repeated.")
@as_json
@kind
def analyze(folder: Place, metrics: tuple[str, ...], places: tuple[str, ...],
            as_json: bool) -> int:
    """Fit the laws to what a sweep's tables hold now, and write its report."""
    from orchestrator import session, tell
    from orchestrator.status import status_of

    status_of(folder)
    summary = session.analyze(folder, metrics=metrics, places=places)
    click.echo(tell.summary_json(summary) if as_json else tell.summary_text(summary))
    return DONE


@click.command()
@click.argument("folders", metavar="DIR…", nargs=-1, required=True, type=FOLDER)
@click.option("--out", default="comparison.html", show_default=True, metavar="FILE",
              type=click.Path(path_type=Path), help="The page that compares several sweeps.")
@kind
def report(folders: tuple[Place, ...], out: Path) -> int:
    """Write a sweep's report; of several sweeps, one page that shows them side by side."""
    from orchestrator import reports

    click.echo("\n".join(reports.write(folders, out)))
    return DONE


@click.command()
@click.argument("folders", metavar="DIR…", nargs=-1, required=True, type=FOLDER)
@click.option("--claim", "wanted", multiple=True, metavar="NAME",
              help="Only this claim, or one of your own: module:function.")
@click.option("--all", "untested", is_flag=True, help="Name those that cannot be tested, and why.")
@as_json
@kind
def claims(folders: tuple[Place, ...], wanted: tuple[str, ...], untested: bool,
           as_json: bool) -> int:
    """Judge the papers' claims on the tables of one sweep or several: hold, fail or undecided."""
    from orchestrator import verdicts

    found = verdicts.judge(folders, wanted)
    click.echo(verdicts.as_json(found) if as_json else verdicts.as_text(found, untested=untested))
    return DONE


@click.command()
@folder
@click.option("--batch-size", type=int, required=True, metavar="S",
              help="The batch size that a learning rate is wanted for.")
@click.option("--noise", type=float, metavar="P",
              help="The fraction of relabelled examples; without it, none.")
@click.option("--metric", default="test_accuracy", show_default=True, metavar="COLUMN",
              help="What is best: an accuracy or a loss.")
@as_json
@kind
def recommend(folder: Place, batch_size: int, noise: float | None, metric: str,
              as_json: bool) -> int:
    """Recommend a learning rate for a batch size, with its interval and how far to trust it."""
    from orchestrator import advice

    found = advice.advise(folder, batch_size, noise, metric)
    click.echo(advice.as_json(found) if as_json else advice.as_text(found))
    return DONE


@click.command()
@folder
@as_json
@kind
def compact(folder: Place, as_json: bool) -> int:
    """Copy a sweep's many small table files into compact/, one a table, for fast reading.

    tables/ stays as it is. A big sweep is compacted when it ends; this is for one that still runs.
    """
    from orchestrator import compaction
    from orchestrator.status import status_of
    from orchestrator.stores import open_store

    status_of(folder)
    made = compaction.compact(open_store(folder))
    click.echo(compaction.as_json(made) if as_json else "\n".join(map(str, made)))
    return DONE
