"""The command line: parse, call, print. The only place that exits.

Exit codes: 0 done, 1 runs failed, 2 bad input, 130 interrupted (the same command goes on).
"""

import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import click

from orchestrator import __version__

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

_spec = click.argument("spec", metavar="SPEC")
_folder = click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
_set = click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE",
                    help="Override a scalar of the spec, like -s train.epochs=5.")
_storage = click.option("--storage", metavar="DIR", help="Override the spec's storage.")
_yes = click.option("--yes", is_flag=True, help="Go ahead with more than 100,000 runs.")
_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
_inline = click.option("--inline", is_flag=True, help="Run in this process, without Ray.")
_address = click.option("--address", metavar="ADDRESS",
                        help="A running Ray cluster, like auto or ray://….")


def _kind(command: Callable[..., int]) -> Callable[..., None]:
    """Turns user errors and interrupts into messages and exit codes."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        from analysis.errors import TableError
        from orchestrator.errors import Problem, UserError

        try:
            with _notes():
                code = command(*args, **kwargs)
        except UserError as error:
            click.echo(str(error), err=True)
            code = BAD_INPUT
        except TableError as error:
            click.echo(str(Problem(error.what, error.where, error.fix)), err=True)
            code = BAD_INPUT
        except PermissionError as error:
            what, where = error.strerror or str(error), str(error.filename or "")
            click.echo(str(Problem(what, where)), err=True)
            code = BAD_INPUT
        except KeyboardInterrupt:
            click.echo("stopped; what is committed is kept: the same command goes on", err=True)
            code = INTERRUPTED
        except BrokenPipeError:
            sys.stderr.close()
            code = DONE
        sys.exit(code)

    return wrapped


@contextmanager
def _notes() -> Iterator[None]:
    """What was left aside is said in a line, once; other warnings are shown as ever."""
    import warnings

    from analysis.errors import LeftAside

    with warnings.catch_warnings():
        warnings.simplefilter("once", LeftAside)
        plain = warnings.showwarning

        def show(message: Any, *more: Any) -> None:
            if isinstance(message, LeftAside):
                click.echo(f"note: {message}", err=True)
            else:
                plain(message, *more)

        warnings.showwarning = show
        yield


class _Program(click.Group):
    """The program as a process. It leaves without taking the interpreter apart, which takes a
    second where torch, Ray and matplotlib are imported; all that it began has ended by then."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except SystemExit as end:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # closed by whoever reads
                    stream.flush()
            os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sgdscope")
def main() -> None:
    """How learning rate, batch size and noise steer SGD: from one YAML to a fitted law.

    SPEC is a YAML file or the name of a preset (see `sgdscope presets`); DIR is a sweep's folder,
    <storage>/<name>.
    """
    gc.set_threshold(100_000)  # importing and planning allocate much that stays


@main.command()
@_spec
@_set
@_storage
@_yes
@_json
@click.option("--runs", "list_runs", is_flag=True, help="List every run.")
@_kind
def plan(spec: str, overrides: tuple[str, ...], storage: str | None, yes: bool, as_json: bool,
         list_runs: bool) -> int:
    """What a spec would do: runs, packs, steps, what is done, time and disk. Trains nothing."""
    import orchestrator
    from orchestrator import session, tell

    planned = orchestrator.plan(spec, overrides=overrides, storage=storage, yes=yes)
    session.check(planned)
    click.echo(tell.plan_json(planned) if as_json else tell.plan_text(planned))
    if list_runs and not as_json:
        click.echo(tell.runs_text(planned))
    return DONE


@main.command()
@_spec
@_set
@_storage
@_yes
@_json
@_inline
@_address
@_kind
def run(spec: str, overrides: tuple[str, ...], storage: str | None, yes: bool, as_json: bool,
        inline: bool, address: str | None) -> int:
    """Run a sweep to its report. The same command again goes on, or extends the sweep."""
    import orchestrator
    from orchestrator import session, tell

    _stop_on_terminate()
    ended = session.run(spec, overrides=orchestrator.with_storage(overrides, storage), yes=yes,
                        inline=inline, address=address)
    click.echo(tell.ended_json(ended) if as_json else tell.ended_text(ended))
    return FAILED if ended.failures or ended.probe_failures else DONE


@main.command()
@click.argument("spec", metavar="SPEC|DIR")
@_set
@_yes
@_storage
@_json
@_inline
@_address
@_kind
def probe(spec: str, overrides: tuple[str, ...], yes: bool, storage: str | None, as_json: bool,
          inline: bool, address: str | None) -> int:
    """Make the missing probes of a sweep whose runs have ended. Trains nothing.

    Takes the spec, whose section `probes` may have changed, or the sweep's folder.
    """
    import orchestrator
    from orchestrator import session, tell

    _stop_on_terminate()
    planned = orchestrator.plan_of_sweep(spec, overrides=overrides, storage=storage, yes=yes)
    ended = session.run_sweep(planned, inline=inline, address=address, probes_only=True)
    click.echo(tell.ended_json(ended) if as_json else tell.ended_text(ended))
    return FAILED if ended.probe_failures else DONE


@main.command()
@_folder
@_json
@_kind
def status(folder: Path, as_json: bool) -> int:
    """How far a sweep is, from its tables alone."""
    from orchestrator.status import status_of

    found = status_of(folder)
    click.echo(found.json() if as_json else "\n".join(found.lines()))
    return DONE


@main.command()
@_folder
@click.option("--every", default=2.0, show_default=True, help="Seconds between looks.")
@_kind
def watch(folder: Path, every: float) -> int:
    """Follow a sweep until its runs have ended; from any machine that sees its folder."""
    from orchestrator.status import status_of

    last = None
    while True:
        found = status_of(folder)
        if found.lines() != last:
            last = found.lines()
            click.echo(last[1] if len(last) == 2 else "\n".join(last[1:]))
        if found.complete or found.failed:
            return FAILED if found.failed else DONE
        time.sleep(max(0.1, every))


@main.command()
@_folder
@_json
@_kind
def analyze(folder: Path, as_json: bool) -> int:
    """Fit the laws to what a sweep's tables hold now, and write its report."""
    from orchestrator import session, tell
    from orchestrator.status import status_of

    status_of(folder)
    summary = session.analyze(folder)
    click.echo(tell.summary_json(summary) if as_json else tell.summary_text(summary))
    return DONE


@main.command()
@_folder
@_json
@_kind
def compact(folder: Path, as_json: bool) -> int:
    """Copy a sweep's many small table files into compact/, one a table, for fast reading.

    tables/ stays as it is. A big sweep is compacted when it ends; this is for one that still runs.
    """
    from orchestrator import compaction
    from orchestrator.status import status_of
    from orchestrator.store import LocalStore

    status_of(folder)
    made = compaction.compact(LocalStore(folder))
    click.echo(compaction.as_json(made) if as_json else "\n".join(map(str, made)))
    return DONE


@main.command()
@_json
@click.argument("name", required=False)
@_kind
def presets(as_json: bool, name: str | None) -> int:
    """The specs that come with sgdscope; with a NAME, that preset's YAML."""
    from orchestrator import tell

    click.echo(tell.presets_text(name, as_json=as_json), nl=name is None)
    return DONE


@main.command()
@_json
@click.option("--storage", default="./sweeps", show_default=True, metavar="DIR",
              help="The storage to try.")
@_kind
def doctor(as_json: bool, storage: str) -> int:
    """Check this machine: versions, CPUs, GPUs, compiler, storage, space."""
    from orchestrator import diagnosis

    checks = diagnosis.examine(Path(storage))
    click.echo(diagnosis.as_json(checks) if as_json else diagnosis.as_text(checks))
    return DONE if all(c.fine for c in checks) else FAILED


def _stop_on_terminate() -> None:
    """SIGTERM stops as Ctrl-C does."""
    import signal

    def stop(number: int, frame: Any) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


if __name__ == "__main__":
    main()
