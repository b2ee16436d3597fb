"""Ray's jobs on a cluster, over its dashboard: the only file that speaks to them."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator import authentication
from orchestrator.errors import Problem, UserError

CONNECT_S, ANSWER_S = 4.0, 60.0
QUIET_S = 60.0  # a log that says nothing for so long is asked for again
_ENDED = ("STOPPED", "SUCCEEDED", "FAILED")


class Lost(Exception):
    """The connection to the cluster is lost, for now."""


@dataclass(frozen=True)
class Job:
    """A job as the cluster knows it. ``sweep`` is <storage>/<name>, empty for jobs not of ours."""

    id: str
    state: str
    name: str
    sweep: str
    message: str
    exit_code: int | None
    started_ms: int

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def code(self) -> int:
        """The exit code that stands for how it ended: the driver's own, 130 where stopped."""
        if self.state == "SUCCEEDED":
            return 0
        if self.state == "STOPPED":
            return 130
        return self.exit_code if self.exit_code in (1, 2, 130) else 1

    def line(self) -> str:
        """What a person reads."""
        why = f": {self.message}" if self.state == "FAILED" and self.message else ""
        return f"job {self.id}  {self.state.lower()}{why}"


class Jobs:
    """The jobs of the cluster whose dashboard answers at an address."""

    def __init__(self, address: str):
        authentication.for_cluster()
        self._client = _client(address)

    def submit(self, job: str, command: str, folder: Path | None,
               metadata: Mapping[str, str]) -> None:
        """Starts a command on the head, in a copy of a folder. UserError where the id is taken."""
        environment: dict[str, Any] = {"env_vars": {"PYTHONUNBUFFERED": "1"}}
        if folder is not None:
            environment["working_dir"] = str(folder)
        try:
            self._client.submit_job(entrypoint=command, submission_id=job, metadata=dict(metadata),
                                    runtime_env=environment)
        except RuntimeError as error:
            raise UserError(Problem(f"the cluster did not take the job: {error}", job,
                                    "try again; see `ray job list`")) from error

    def all(self) -> list[Job]:
        """Those that were submitted, the newest first. Lost where the cluster does not answer."""
        with _lost():
            found = [_job(d) for d in self._client.list_jobs() if d.submission_id]
        return sorted(found, key=lambda j: j.started_ms, reverse=True)

    def get(self, job: str) -> Job | None:
        """A job as it is now; None where the cluster does not know it."""
        with _lost():
            try:
                return _job(self._client.get_job_info(job))
            except RuntimeError as error:
                if "status code 404" in str(error):
                    return None
                raise

    def stop(self, job: str) -> None:
        """Asks a job to end, as Ctrl-C would."""
        with _lost():
            self._client.stop_job(job)

    def log(self, job: str) -> Iterator[str]:
        """What a job has written and writes, in pieces, until it ends. Lost where that breaks."""
        loop = asyncio.new_event_loop()
        pieces = self._pieces(job)
        try:
            while True:
                try:
                    yield loop.run_until_complete(anext(pieces))
                except StopAsyncIteration:
                    return
        finally:
            loop.run_until_complete(pieces.aclose())
            loop.close()

    async def _pieces(self, job: str) -> AsyncIterator[str]:
        import aiohttp

        try:
            async with aclosing(self._client.tail_job_logs(job)) as tail:
                while True:
                    yield await asyncio.wait_for(anext(tail), QUIET_S)
        except StopAsyncIteration:
            return
        except (TimeoutError, RuntimeError, OSError, aiohttp.ClientError) as error:
            raise Lost(str(error) or type(error).__name__) from error


def _client(address: str) -> Any:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):  # which Ray prefers to what it is given
        os.environ.pop(name, None)
    try:
        import aiohttp  # noqa: F401
        from ray.dashboard.modules import dashboard_sdk
        from ray.dashboard.modules.job import sdk
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise UserError(Problem(f"Ray's jobs are not installed here ({error.name} is missing)",
                                fix="pip install 'sgdscope[cluster]'")) from error

    for module in (sdk, dashboard_sdk):
        module.logger.setLevel(logging.ERROR)

    class Client(JobSubmissionClient):
        """Ray's own, which would wait for ever where a tunnel leads nowhere."""

        def _do_request(self, *given: Any, **options: Any) -> Any:
            return super()._do_request(*given, **{"timeout": (CONNECT_S, ANSWER_S), **options})

    with _lost():
        return Client(address)


@contextmanager
def _lost() -> Iterator[None]:
    import requests

    try:
        yield
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout,
            ConnectionError) as error:
        raise Lost(str(error)) from error


def _job(details: Any) -> Job:
    meta, said = details.metadata or {}, details.message or ""
    return Job(details.submission_id or "", str(details.status.value),
               meta.get("sgdscope_name", ""), meta.get("sgdscope_sweep", ""),
               said.partition(", last available logs")[0].strip(), details.driver_exit_code,
               details.start_time or 0)
