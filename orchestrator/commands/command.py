"""What commands share: their arguments, their exit codes, and errors told kindly.

Exit codes: 0 done, 1 runs failed, 2 bad input, 130 interrupted (the same command goes on).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click

from orchestrator.stores.place import scheme

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

spec = click.argument("spec", metavar="SPEC")

class _Folder(click.ParamType):
    """A sweep's folder: a path on this machine, or a URI such as s3://bucket/prefix/name."""

    name = "DIR"

    def convert(self, value: Any, param: Any, context: Any) -> Any:  # noqa: ARG002
        """A Path as it is written, or the URI."""
        return str(value) if scheme(str(value)) else Path(value)


FOLDER = _Folder()
folder = click.argument("folder", metavar="DIR", type=FOLDER)
overrides = click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE",
                         help="Override a scalar of the spec, like -s train.epochs=5.")
storage = click.option("--storage", metavar="DIR",
                       help="Override the spec's storage: a folder, or a URI like s3://bucket/x.")
yes = click.option("--yes", is_flag=True, help="Go ahead with more than 100,000 runs.")
as_json = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
inline = click.option("--inline", is_flag=True, help="Run in this process, without Ray.")
address = click.option("--address", metavar="ADDRESS",
                       help="A running Ray cluster, like auto or ray://….")


def kind(command: Callable[..., int]) -> Callable[..., None]:
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
        except KeyboardInterrupt:
            click.echo("stopped; what is committed is kept: the same command goes on", err=True)
            code = INTERRUPTED
        except BrokenPipeError:
            sys.stderr.close()
            code = DONE
        except OSError as error:  # of the system: a disk that is full, a file that is closed to us
            what, where = error.strerror or str(error), str(error.filename or "")
            click.echo(str(Problem(what, where)), err=True)
            code = BAD_INPUT
        sys.exit(code)

    return wrapped


@contextmanager
def _notes() -> Iterator[None]:
    """What was left aside is said in a line, once; other warnings are shown as ever."""
    import warnings

    from analysis.errors import Note

    with warnings.catch_warnings():
        warnings.simplefilter("once", Note)
        plain = warnings.showwarning

        def show(message: Any, *more: Any) -> None:
            if isinstance(message, Note):
                click.echo(f"note: {message}", err=True)
            else:
                plain(message, *more)

        warnings.showwarning = show
        yield


def stop_on_terminate() -> None:
    """SIGTERM stops as Ctrl-C does."""
    import signal

    def stop(number: int, frame: Any) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
