"""Commands about this installation."""

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
@click.option("--storage", metavar="DIR", help="The storage to try; ./sweeps of this machine.")
@click.option("--address", metavar="ADDRESS", help="The nodes of a Ray cluster instead: auto or "
              "host:port from one of them, http://… of its dashboard from anywhere.")
@kind
def doctor(as_json: bool, storage: str | None, address: str | None) -> int:
    """Check this machine, or the nodes of a cluster: versions, CPUs, GPUs, storage, space.

    Of a cluster also whether the storage is shared, the token, and what listens where.
    """
    if address is None:
        from orchestrator import diagnosis

        checks = diagnosis.examine(storage or "./sweeps")
        click.echo(diagnosis.as_json(checks) if as_json else diagnosis.as_text(checks))
        return DONE if all(c.fine for c in checks) else FAILED
    if address.startswith(("http://", "https://")):
        from orchestrator.commands.clusters import examine_afar

        return examine_afar(address, storage, as_json=as_json)
    from orchestrator import clusterdoctor

    found = clusterdoctor.examine(address, storage)
    click.echo(found.json() if as_json else found.text())
    return FAILED if found.problems else DONE
