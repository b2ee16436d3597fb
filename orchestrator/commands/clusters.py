"""Commands that run a sweep on a cluster as a job, and follow it from afar."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from orchestrator.commands.command import (
    DONE,
    INTERRUPTED,
    kind,
    overrides,
    spec,
    stop_on_terminate,
    storage,
    yes,
)
from orchestrator.stores.place import Place, parted, placed

if TYPE_CHECKING:
    from orchestrator.jobs import Jobs

dashboard = click.option(
    "--address", default="http://127.0.0.1:8265", show_default=True, metavar="URL",
    envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard, as a tunnel shows it.")
job_name = click.argument("name", metavar="NAME")


@click.command()
@spec
@overrides
@storage
@yes
@dashboard
@click.option("--name", metavar="NAME", help="Override the spec's name.")
@click.option("--no-wait", is_flag=True, help="Return when the job is submitted.")
@kind
def submit(spec: str, overrides: tuple[str, ...], storage: str | None, yes: bool, address: str,
           name: str | None, no_wait: bool) -> int:
    """Run a sweep on a cluster as a job; follow it to its end. Ctrl-C leaves it running.

    The same command again goes on where an earlier job stopped.
    """
    import orchestrator
    from orchestrator import parcel
    from orchestrator.spec import load_spec
    from orchestrator.submit import connect, send

    given = [*orchestrator.with_storage(overrides, storage), *([f"name={name}"] if name else [])]
    sent = parcel.pack(load_spec(spec, given), yes=yes)
    jobs = connect(address, sys.stderr)
    job = send(jobs, sent)
    click.echo(f"job {job} → {sent.sweep}\nthe same as: "
               f"{sent.plain_line(address, job, wait=not no_wait)}", err=True)
    if no_wait:
        click.echo(f"follow it: sgdscope logs {job}; end it: sgdscope stop {job}", err=True)
        return DONE
    return _follow(jobs, job)


@click.command()
@job_name
@dashboard
@kind
def logs(name: str, address: str) -> int:
    """Follow a job to its end: by its id, or the newest of a sweep by the sweep's name."""
    from orchestrator.submit import connect, find

    jobs = connect(address, sys.stderr)
    return _follow(jobs, find(jobs, name).id)


@click.command()
@job_name
@dashboard
@kind
def stop(name: str, address: str) -> int:
    """Stop a job, as Ctrl-C would: what is committed is kept, and submitting again goes on."""
    from orchestrator.submit import connect, find

    jobs = connect(address, sys.stderr)
    job = find(jobs, name)
    if job.ended:
        click.echo(f"{job.line()}: it has ended before", err=True)
        return DONE
    jobs.stop(job.id)
    click.echo(f"job {job.id} is told to stop; submitting again goes on", err=True)
    return DONE


def examine_afar(address: str, storage: str | None, *, as_json: bool) -> int:
    """`sgdscope doctor` on a cluster's head, as a job; the exit code is the job's."""
    from orchestrator.parcel import Parcel
    from orchestrator.submit import connect, send

    arguments = ["doctor", "--address", "auto", *(["--storage", storage] if storage else []),
                 *(["--json"] if as_json else [])]
    jobs = connect(address, sys.stderr)
    return _follow(jobs, send(jobs, Parcel("doctor", "", {}, tuple(arguments))))


def status_with_job(folder: Place, address: str, *, as_json: bool) -> str:
    """A sweep's newest job, and how far the sweep is where its folder is seen from here."""
    from orchestrator.errors import UserError
    from orchestrator.status import status_of
    from orchestrator.submit import connect, find

    job = find(connect(address, sys.stderr), parted(placed(folder))[1])
    try:
        found = status_of(folder)
    except UserError:
        return json.dumps({"job": asdict(job)}) if as_json else (
            f"{job.line()}\nits folder {job.sweep} is not seen from here")
    if as_json:
        return json.dumps({**json.loads(found.json()), "job": asdict(job)})
    return "\n".join([job.line(), *found.lines()])


def _follow(jobs: "Jobs", job: str) -> int:
    """The exit code that stands for how the job ended, or that of an interrupt."""
    from orchestrator.submit import follow

    stop_on_terminate()
    try:
        ended = follow(jobs, job, sys.stdout, told=sys.stderr)
    except KeyboardInterrupt:
        click.echo(f"\nleft; the job runs on. Come back: sgdscope logs {job}; end it: sgdscope "
                   f"stop {job}", err=True)
        return INTERRUPTED
    click.echo(ended.line(), err=True)
    return ended.code
