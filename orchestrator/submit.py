"""`sgdscope submit`: a sweep as a job on a cluster, followed line by line until it ends.

The job runs `sgdscope run SPEC --address auto` on the head. Whoever submitted it may leave and come
back; the job does not mind.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orchestrator.dashboard import reach
from orchestrator.errors import Problem, UserError
from orchestrator.parcel import Parcel

if TYPE_CHECKING:
    from orchestrator.jobs import Job, Jobs

MOST_WAIT_S = 30.0  # between two tries to reach a cluster again
MOST_BROKEN = 3     # tries to read to its end the log of a job that has ended


def connect(address: str, out: TextIO) -> "Jobs":
    """The jobs of the cluster at an address; UserError where it does not answer, or not to us."""
    dashboard = reach(address)
    if dashboard.is_open:
        out.write(f"warning: the cluster at {dashboard.address} answers without a token: whoever"
                  " reaches it can run code on it. Start it with RAY_AUTH_MODE=token, as"
                  " cluster.yaml does\n")
    from orchestrator.jobs import Jobs, Lost

    try:
        return Jobs(dashboard.address)
    except Lost as error:
        raise _gone(address, error) from error


def send(jobs: "Jobs", parcel: Parcel) -> str:
    """Starts a parcel's job and returns its id; UserError where one of the same sweep runs."""
    busy = [j for j in _all(jobs) if j.sweep and j.sweep == parcel.sweep and not j.ended]
    if busy:
        raise UserError(Problem(
            f"the job {busy[0].id} already works on {parcel.sweep}", "--address",
            f"follow it: sgdscope logs {busy[0].id}; or end it: sgdscope stop {busy[0].id}"))
    job = f"{parcel.name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    with tempfile.TemporaryDirectory(prefix="sgdscope-job-") as folder:
        parcel.unpack(Path(folder))
        jobs.submit(job, parcel.command, Path(folder) if parcel.files else None, parcel.metadata)
    return job


def find(jobs: "Jobs", name: str) -> "Job":
    """A job by its id, or the newest of a sweep by the sweep's name; UserError where none is."""
    known = _all(jobs)
    for job in known:
        if name in (job.id, job.name, job.sweep):
            return job
    ours = ", ".join(j.id for j in known if j.name)[:200]
    raise UserError(Problem(f"the cluster knows no job of `{name}`", "--address",
                            f"it knows {ours}" if ours else "it has run none since it was started"))


def follow(jobs: "Jobs", job: str, out: TextIO, *, told: TextIO,
           sleep: Callable[[float], None] = time.sleep) -> "Job":
    """Writes a job's log to ``out`` until it ends; says on ``told`` when the connection breaks."""
    from orchestrator.jobs import Job, Lost

    log, wait, lost = _Log(jobs, job, out), 1.0, False
    while True:
        whole = log.copy()
        try:
            found = jobs.get(job)
        except Lost as error:
            if not lost:
                told.write(f"the connection is lost ({_short(error)}); the job runs on. Trying "
                           "again …\n")
            sleep(wait)
            wait, lost = min(2 * wait, MOST_WAIT_S), True
            continue
        if lost:
            told.write("connected again\n")
            wait, lost = 1.0, False
        if found is None:
            return Job(job, "FAILED", "", "", "the cluster no longer knows it: its head has "
                       "been started anew. What is committed is kept: submit again", 1, 0)
        if found.ended and (whole or log.broken >= MOST_BROKEN):
            return found
        sleep(wait)


class _Log:
    """A job's log as far as it was written to ``out``.

    When it is asked for again it comes from its beginning: what was written is skipped. ``broken``:
    how often in a row it broke off.
    """

    def __init__(self, jobs: "Jobs", job: str, out: TextIO):
        self._jobs, self._job, self._out, self._written = jobs, job, out, 0
        self.broken = 0

    def copy(self) -> bool:
        """Writes what is new until the log ends, or breaks off; whether it ended."""
        from orchestrator.jobs import Lost

        skip = self._written
        try:
            for piece in self._jobs.log(self._job):
                new = piece[skip:]
                skip = max(0, skip - len(piece))
                self._written += len(new)
                self._out.write(new)
                self._out.flush()
        except Lost:
            self.broken += 1
            return False
        self.broken = 0
        return True


def _all(jobs: "Jobs") -> "list[Job]":
    from orchestrator.jobs import Lost

    try:
        return jobs.all()
    except Lost as error:
        raise _gone("the address", error) from error


def _gone(address: str, error: Exception) -> UserError:
    return UserError(Problem(f"the cluster at {address} stopped answering: {_short(error)}",
                             "--address", "is the tunnel still open? ray dashboard cluster.yaml"))


def _short(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:160]
