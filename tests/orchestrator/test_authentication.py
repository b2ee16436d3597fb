"""The token: found in Ray's order, forced on our own Ray, left to the user towards a cluster."""

import os

import pytest

from orchestrator import authentication
from orchestrator.authentication import for_cluster, for_own_ray, readable_by_others, token_of


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a token, and an environment that names none."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "x")  # so that what is set below is taken back
        monkeypatch.delenv(name)
    monkeypatch.setattr(authentication.Path, "home", lambda: tmp_path)
    return tmp_path


def _write(home, text="abc\n", mode=0o600):
    file = home / ".ray" / "auth_token"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(mode)
    return file


def test_the_environment_goes_before_the_files(home):
    other = home / "other"
    other.write_text("of the file named\n")
    _write(home, "of home\n")
    assert token_of({}) == "of home"
    assert token_of({"RAY_AUTH_TOKEN_PATH": str(other)}) == "of the file named"
    assert token_of({"RAY_AUTH_TOKEN_PATH": str(other), "RAY_AUTH_TOKEN": " t "}) == "t"
    assert token_of({"RAY_AUTH_TOKEN_PATH": str(home / "none")}) == ""


@pytest.mark.parametrize("mode", [None, "disabled", "token"])
def test_our_own_ray_always_asks_for_a_token(home, monkeypatch, mode):
    """Even where the environment turns authentication off: nobody else has to talk to it."""
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    for_own_ray()
    made = os.environ["RAY_AUTH_TOKEN"]
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(made) == 64
    assert not (home / ".ray").exists()  # it ends with the process
    for_own_ray()
    assert os.environ["RAY_AUTH_TOKEN"] == made


def test_a_token_that_is_there_is_used(home):
    _write(home)
    for_own_ray()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_cluster_is_spoken_to_with_the_token_unless_the_user_chose(home, monkeypatch):
    for_cluster()
    assert "RAY_AUTH_MODE" not in os.environ  # there is none: the cluster says so
    _write(home)
    for_cluster()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    for_cluster()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_a_token_that_others_may_read_is_noticed(home):
    assert not readable_by_others({})
    file = _write(home)
    assert not readable_by_others({})
    file.chmod(0o644)  # as Ray leaves it
    assert readable_by_others({})
