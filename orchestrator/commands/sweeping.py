"""Commands that plan and run sweeps, and follow them."""

import time

import click

from orchestrator.commands.command import (
    DONE,
    FAILED,
    address,
    as_json,
    folder,
    inline,
    kind,
    overrides,
    spec,
    stop_on_terminate,
    storage,
    yes,
)
from orchestrator.stores import Place


@click.command()
@spec
@overrides
@storage
@yes
@as_json
@click.option("--runs", "list_runs", is_flag=True, help="List every run.")
@kind
def plan(spec: str, overrides: tuple[str, ...], storage: str | None, yes: bool, as_json: bool,
         list_runs: bool) -> int:
    """What a spec would do: runs, packs, steps, what is done, time and disk. Trains nothing.

    Well-known data need not be on this machine: then time is an estimate from counted operations.
    """
    import orchestrator
    from orchestrator import session, tell

    planned = orchestrator.plan(spec, overrides=overrides, storage=storage, yes=yes, presume=True)
    session.check(planned)
    click.echo(tell.plan_json(planned) if as_json else tell.plan_text(planned))
    if list_runs and not as_json:
        click.echo(tell.runs_text(planned))
    return DONE


@click.command()
@spec
@overrides
@storage
@yes
@as_json
@inline
@address
@kind
def run(spec: str, overrides: tuple[str, ...], storage: str | None, yes: bool, as_json: bool,
        inline: bool, address: str | None) -> int:
    """Run a sweep to its report. The same command again goes on, or extends the sweep."""
    import orchestrator
    from orchestrator import session, tell

    stop_on_terminate()
    ended = session.run(spec, overrides=orchestrator.with_storage(overrides, storage), yes=yes,
                        inline=inline, address=address)
    click.echo(tell.ended_json(ended) if as_json else tell.ended_text(ended))
    return FAILED if ended.failures or ended.probe_failures else DONE


@click.command()
@click.argument("spec", metavar="SPEC|DIR")
@overrides
@yes
@storage
@as_json
@inline
@address
@kind
def probe(spec: str, overrides: tuple[str, ...], yes: bool, storage: str | None, as_json: bool,
          inline: bool, address: str | None) -> int:
    """Make the missing probes of a sweep whose runs have ended. Trains nothing.

    Takes the spec, whose section `probes` may have changed, or the sweep's folder.
    """
    import orchestrator
    from orchestrator import session, tell

    stop_on_terminate()
    planned = orchestrator.plan_of_sweep(spec, overrides=overrides, storage=storage, yes=yes)
    ended = session.run_sweep(planned, inline=inline, address=address, probes_only=True)
    click.echo(tell.ended_json(ended) if as_json else tell.ended_text(ended))
    return FAILED if ended.probe_failures else DONE


@click.command()
@folder
@as_json
@click.option("--address", metavar="URL", help="Ask a cluster's dashboard for the sweep's job too, "
              "like http://127.0.0.1:8265; then DIR may be its name, where its folder is not seen.")
@kind
def status(folder: Place, as_json: bool, address: str | None) -> int:
    """How far a sweep is, from its tables alone."""
    from orchestrator.status import status_of

    if address is None:
        found = status_of(folder)
        click.echo(found.json() if as_json else "\n".join(found.lines()))
        return DONE
    from orchestrator.commands.clusters import status_with_job

    click.echo(status_with_job(folder, address, as_json=as_json))
    return DONE


@click.command()
@folder
@click.option("--every", default=2.0, show_default=True, help="Seconds between looks.")
@kind
def watch(folder: Place, every: float) -> int:
    """Follow a sweep until its runs have ended; from any machine that sees its folder."""
    from orchestrator.status import status_of

    last = None
    while True:
        found = status_of(folder, again=last is not None)
        if found.lines() != last:
            last = found.lines()
            click.echo(last[1] if len(last) == 2 else "\n".join(last[1:]))
        if found.complete or found.failed:
            return FAILED if found.failed else DONE
        time.sleep(max(0.1, every))
