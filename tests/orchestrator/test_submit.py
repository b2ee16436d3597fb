"""A job is sent once, found again, and followed through lost connections, each line once."""

import io
import itertools

import pytest

from orchestrator.errors import UserError
from orchestrator.jobs import Job, Lost
from orchestrator.parcel import Parcel
from orchestrator.submit import MOST_BROKEN, MOST_WAIT_S, find, follow, send


def _job(identity="law-1", state="RUNNING", sweep="/s/law", code=None, started=0):
    return Job(identity, state, sweep.rpartition("/")[2], sweep, "", code, started)


class _Jobs:
    """A cluster: its jobs, and what asking for the log and for a job brings, call by call."""

    def __init__(self, jobs=(), logs=(), gets=()):
        self.jobs, self.logs, self.gets, self.sent = list(jobs), iter(logs), iter(gets), []

    def all(self):
        return self.jobs

    def submit(self, job, command, folder, metadata):
        names = None if folder is None else sorted(p.name for p in folder.iterdir())
        self.sent.append((job, command, names, metadata))

    def log(self, _):
        for piece in next(self.logs):
            if piece is None:
                raise Lost("cut\nwith more")
            yield piece

    def get(self, _):
        found = next(self.gets)
        if found is Lost:
            raise Lost("cut")
        return found


PARCEL = Parcel("law", "/s/law", {}, ("run", "law.yaml"))


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_second_driver_of_the_same_sweep_is_refused(state):
    jobs = _Jobs([_job(state=state)])
    with pytest.raises(UserError, match="law-1 already works on /s/law") as caught:
        send(jobs, PARCEL)
    assert "sgdscope logs law-1" in str(caught.value)
    assert jobs.sent == []


@pytest.mark.parametrize("other", [
    _job(state="FAILED"), _job(state="STOPPED"), _job(state="SUCCEEDED"),
    _job(sweep="/other/law"),  # of the same name, elsewhere
    _job(sweep=""),            # not ours
])
def test_what_has_ended_or_is_another_does_not_stand_in_the_way(other, tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("a: 1")
    jobs = _Jobs([other])
    name = send(jobs, Parcel("law", "/s/law", {"law.yaml": file}, ("run", "law.yaml")))
    assert name.startswith("law-2")
    assert jobs.sent == [(name, "sgdscope run law.yaml", ["law.yaml"],
                          {"sgdscope_name": "law", "sgdscope_sweep": "/s/law"})]


def test_a_job_is_found_by_its_id_or_the_newest_by_the_sweeps_name():
    jobs = _Jobs([_job("law-2"), _job("law-1")])  # the newest first
    assert find(jobs, "law").id == "law-2"
    assert find(jobs, "/s/law").id == "law-2"
    assert find(jobs, "law-1").id == "law-1"
    with pytest.raises(UserError, match="no job of `other`") as caught:
        find(jobs, "other")
    assert "law-2, law-1" in str(caught.value)
    with pytest.raises(UserError, match="has run none"):
        find(_Jobs(), "other")


def _followed(logs, gets):
    out, told, slept = io.StringIO(), io.StringIO(), []
    ended = follow(_Jobs(logs=logs, gets=gets), "law-1", out, told=told, sleep=slept.append)
    return ended, out.getvalue(), told.getvalue(), slept


def test_a_log_is_followed_to_the_jobs_end():
    ended, out, told, _ = _followed([["a\n", "b\n"]], [_job(state="SUCCEEDED")])
    assert (ended.code, out, told) == (0, "a\nb\n", "")


def test_after_a_lost_connection_each_line_is_there_once():
    """The log comes from its beginning again, in other pieces."""
    ended, out, told, _ = _followed(
        [["a\n", "b\n", None], [None], ["a\nb\nc", "\n"]],
        [Lost, Lost, _job(state="SUCCEEDED")])
    assert out == "a\nb\nc\n"
    assert ended.code == 0
    assert told.count("the connection is lost (cut)") == 1
    assert told.count("connected again") == 1


def test_tries_get_rarer_but_not_too_rare():
    _, _, _, slept = _followed([[None]] * 9 + [["a"]], [Lost] * 9 + [_job(state="FAILED")])
    assert slept == sorted(slept)
    assert slept[0] == 1.0
    assert slept[-1] == MOST_WAIT_S


def test_a_log_that_was_merely_quiet_is_no_lost_connection():
    _, out, told, _ = _followed([["a", None], ["a", "b"]],
                                [_job(), _job(state="SUCCEEDED")])
    assert (out, told) == ("ab", "")


def test_a_log_that_ends_before_the_job_is_asked_for_again():
    _, out, _, slept = _followed([["a"], ["a", "b"]], [_job(), _job(state="SUCCEEDED")])
    assert out == "ab"
    assert slept == [1.0]


def test_a_log_that_broke_off_is_read_to_its_end_though_the_job_has_ended():
    ended, out, _, _ = _followed([["a", None], ["a", "b"]], [_job(state="FAILED")] * 2)
    assert (ended.code, out) == (1, "ab")


def test_a_log_that_cannot_be_read_does_not_keep_anybody():
    ended, out, _, slept = _followed([["a", None]] * MOST_BROKEN,
                                     [_job(state="SUCCEEDED")] * MOST_BROKEN)
    assert (ended.code, out) == (0, "a")
    assert len(slept) == MOST_BROKEN - 1


@pytest.mark.parametrize("log", [[None], []])  # Ray closes the door, or tells nothing
def test_a_cluster_that_forgot_the_job_says_what_to_do(log):
    ended, _, told, _ = _followed([["a", None], log], [Lost, None])
    assert ended.code == 1
    assert "submit again" in ended.line()
    assert "connected again" in told


@pytest.mark.parametrize(("state", "driver", "code"), [
    ("SUCCEEDED", 0, 0), ("STOPPED", -15, 130), ("FAILED", 1, 1), ("FAILED", 2, 2),
    ("FAILED", 130, 130), ("FAILED", -9, 1), ("FAILED", 137, 1), ("FAILED", None, 1)])
def test_the_exit_code_is_the_jobs(state, driver, code):
    assert _job(state=state, code=driver).code == code


def test_states_that_end_a_job():
    ended = {s for s in ("PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED")
             if _job(state=s).ended}
    assert ended == {"STOPPED", "SUCCEEDED", "FAILED"}


def test_interrupts_pass(monkeypatch):
    """Ctrl-C leaves the job alone: whoever asked decides what to say."""
    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(_Jobs(logs=itertools.repeat([None]), gets=itertools.repeat(Lost)), "law-1",
               io.StringIO(), told=io.StringIO(), sleep=interrupted)
