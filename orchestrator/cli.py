"""The command line as a program."""

import gc
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from orchestrator import __version__
from orchestrator.commands import clusters, here, reading, sweeping


class _Program(click.Group):
    """The program as a process. It leaves without taking the interpreter apart, which takes a
    second where torch, Ray and matplotlib are imported; all that it began has ended by then."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _open_streams()
        try:
            return super().__call__(*args, **kwargs)
        except SystemExit as end:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):  # closed by whoever reads
                    stream.flush()
            os._exit(end.code if isinstance(end.code, int) else 0 if end.code is None else 1)


def _open_streams() -> None:
    """Whatever a shell made of them, there is an output; it shows what it cannot show as \\u…."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed before we began: >&-
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
        with suppress(AttributeError, ValueError):  # a stream of the tests
            getattr(sys, name).reconfigure(errors="backslashreplace")


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sgdscope")
def main() -> None:
    """How learning rate, batch size and noise steer SGD: from one YAML to a fitted law.

    SPEC is a YAML file or the name of a preset (see `sgdscope presets`); DIR is a sweep's folder,
    <storage>/<name>.
    """
    gc.set_threshold(100_000)  # importing and planning allocate much that stays


for _command in (
    sweeping.plan, sweeping.run, sweeping.probe, sweeping.status, sweeping.watch,
    reading.analyze, reading.report, reading.claims, reading.recommend, reading.compact,
    clusters.submit, clusters.logs, clusters.stop, here.presets, here.doctor,
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
