"""Commands about this installation."""

from pathlib import Path

import click

from orchestrator.commands.command import DONE, FAILED, as_json, kind


@click.command()
@as_json
@click.argument("name", required=False)
@click.option("--scale", type=click.Choice(["digits", "small", "paper"]),
              help="Those of one scale: minutes on a laptop, an hour on a GPU, a cluster.")
@click.option("--names", "bare", is_flag=True, help="The names alone.")
@kind
def presets(as_json: bool, name: str | None, scale: str | None, bare: bool) -> int:
    """The specs that come with sgdscope; with a NAME, that preset's YAML."""
    from orchestrator import tell

    text = tell.presets_text(name, scale=scale or "", as_json=as_json, bare=bare)
    click.echo(text, nl=name is None)
    return DONE


@click.command()
@as_json
@click.option("--storage", default="./sweeps", show_default=True, metavar="DIR",
              help="The storage to try.")
@kind
def doctor(as_json: bool, storage: str) -> int:
    """Check this machine: versions, CPUs, GPUs, compiler, storage, space."""
    from orchestrator import diagnosis

    checks = diagnosis.examine(Path(storage))
    click.echo(diagnosis.as_json(checks) if as_json else diagnosis.as_text(checks))
    return DONE if all(c.fine for c in checks) else FAILED
