"""Ray in a thread of its own: it starts while a sweep is planned and stops while it is analysed."""

import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from orchestrator import authentication
from orchestrator.errors import Problem, UserError
from orchestrator.timeline import phase

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "600",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Tune gives each worker a runtime environment of its own: those started ahead serve nobody.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 would starve a sweep beside any other load
}
_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
os.environ.update({k: v for k, v in _ENVIRONMENT.items() if k not in os.environ})


class Cluster:
    """This process's own Ray on this machine, or a connection to the cluster at ``address``.

    One thread starts it, waits, and stops it: on Linux, Ray's processes end with the thread that
    made them. Nothing is started before ``start`` or ``wait``.
    """

    def __init__(self, address: str | None = None):
        self.address = address
        self._up: Future[None] = Future()
        self._over = threading.Event()
        self._collecting = False
        self._thread = threading.Thread(target=self._hold, name="ray")

    def start(self) -> None:
        """Begins to start Ray and returns at once; does nothing where it was begun before."""
        if self._thread.ident is None:
            self._thread.start()

    def wait(self) -> None:
        """Returns when Ray is up. UserError where no cluster answers at the address."""
        self.start()
        self._up.result()
        _take_back_terminate()

    def release(self) -> None:
        """Nothing runs on Ray any more: it begins to stop, or stops once it is up.

        Ray ends a process that drops a reference to one of its objects while it stops. So what lies
        about is collected first, and nothing is until it has stopped.
        """
        if self._thread.is_alive() and not self._over.is_set():
            gc.collect()
            self._collecting = gc.isenabled()
            gc.disable()
        self._over.set()

    def close(self) -> None:
        """Returns when Ray has stopped."""
        self.release()
        if self._thread.ident is not None:
            self._thread.join()

    def _hold(self) -> None:
        try:
            with _connected(self.address):
                self._up.set_result(None)
                self._over.wait()
        except BaseException as error:
            if self._up.done():
                raise
            self._up.set_exception(error)
        finally:
            if self._collecting:
                gc.enable()


def _take_back_terminate() -> None:
    """SIGTERM means what it meant before: Ray's C++ core has put its own handler over it."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """This process's own Ray instance on this machine, or the cluster at ``address``."""
    if address is None:
        authentication.for_own_ray()
        with _on_loopback(), _ray("local", include_dashboard=False):
            yield
    else:
        if "://" in address and not address.startswith("ray://"):
            raise UserError(Problem(f"{address} is a dashboard, not a node", "--address",
                                    "submit the sweep there: sgdscope submit; on a node: auto"))
        authentication.for_cluster()
        with _ray(address):
            yield


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Nothing of a Ray that starts meanwhile listens to other machines: as Ray has it on macOS and
    Windows. Elsewhere it listens on all addresses, whatever address it is given."""
    before = os.environ.get(_CLUSTERS)
    os.environ[_CLUSTERS] = "0"
    from ray._private import ray_constants

    known, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = known
        if before is None:
            del os.environ[_CLUSTERS]
        else:
            os.environ[_CLUSTERS] = before


def _start(address: str, options: dict[str, Any]) -> None:
    """Once more where Ray gives up: it waits 30 s for its own processes, whatever else runs."""
    import ray

    for last in (False, True):
        try:
            ray.init(address=address, **options)
            return
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            if last:
                raise UserError(Problem(
                    "Ray did not start within 30 s, nor when it was asked again", "this machine",
                    "it may be too busy, or short of memory: try again later, or run in one "
                    "process, --inline")) from error


@contextlib.contextmanager
def _ray(address: str, **more: Any) -> Iterator[None]:
    import ray
    from ray._raylet import Config

    Config.initialize("")  # where Ray was imported before, it read the mode then
    _quote_briefly()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR,
                               **more}
    try:
        with phase("ray start"):
            _start(address, options)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        raise UserError(Problem(
            f"no Ray cluster answers at {address}: {str(error).splitlines()[0]}", "--address",
            "start one (ray up cluster.yaml), or leave --address out to run on this machine",
        )) from error
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise UserError(Problem(
            f"the cluster at {address} is of other versions: {' '.join(str(error).split())[:300]}",
            "--address", "install its versions here, or submit a job: sgdscope submit")) from error
    try:
        yield
    finally:
        with phase("ray stop"):
            ray.shutdown()


def _quote_briefly() -> None:
    """Of what Ray tells of its nodes, the first line each: not the logs of those that died."""
    from ray._private import worker

    plain = getattr(worker, "print_to_stdstream", None)
    if plain is None or plain.__name__ == "first_lines":
        return

    def first_lines(data: dict[str, Any], *given: Any, **options: Any) -> None:
        lines = [(line.strip().splitlines() or [""])[0] for line in data["lines"]]
        plain({**data, "lines": lines}, *given, **options)

    worker.print_to_stdstream = first_lines
