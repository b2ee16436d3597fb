"""Every way in which a dashboard does not answer is told in seconds, in one sentence."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestrator import dashboard
from orchestrator.dashboard import reach
from orchestrator.errors import UserError


@pytest.fixture
def served(monkeypatch, tmp_path):
    """serve(answer) -> address; ``answer(authorization)`` gives (code, body, headers)."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    servers = []

    def serve(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                code, body, headers = answer(self.headers.get("Authorization"))
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


VERSION = json.dumps({"version": "4", "ray_version": "2.60.0"}).encode()


def _guarded(authorization):
    """As Ray's own does."""
    code = 401 if authorization is None else 200 if authorization == "Bearer 7a1c" else 403
    return code, VERSION if code == 200 else b"", {}


def test_with_the_token_it_answers(served, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "7a1c")
    found = reach(f"{served(_guarded)}/")
    assert (found.ray_version, found.is_open) == ("2.60.0", False)


def test_one_that_answers_anybody_is_noticed(served):
    assert reach(served(lambda _: (200, VERSION, {}))).is_open


@pytest.mark.parametrize(("environment", "words"), [
    ({}, "wants a token, and there is none here"),
    ({"RAY_AUTH_TOKEN": "99ff"}, "does not know this token"),
    ({"RAY_AUTH_TOKEN": "7a1c", "RAY_AUTH_MODE": "disabled"}, "RAY_AUTH_MODE is 'disabled' here"),
])
def test_without_the_right_token_it_is_said_why(served, monkeypatch, environment, words):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=words) as caught:
        reach(served(_guarded))
    for token in ("7a1c", "99ff"):
        assert token not in str(caught.value)  # a token is never shown


@pytest.mark.parametrize(("code", "body"), [
    (200, b"<html>"), (200, b"[]"), (200, b'{"ray_version": 2}'), (404, b""), (500, b"")])
def test_what_is_no_dashboard_is_told(served, code, body):
    with pytest.raises(UserError, match="no dashboard of Ray"):
        reach(served(lambda _: (code, body, {})))


def test_a_token_is_not_sent_on(served, monkeypatch):
    """A redirection could point anywhere."""
    asked = []
    elsewhere = served(lambda token: (asked.append(token), (200, VERSION, {}))[1])
    monkeypatch.setenv("RAY_AUTH_TOKEN", "7a1c")
    with pytest.raises(UserError, match="no dashboard of Ray"):
        reach(served(lambda a: (302 if a else 401, b"", {"Location": elsewhere} if a else {})))
    assert asked == []


@pytest.mark.parametrize("address", ["ftp://h", "auto", "127.0.0.1:8265", "http://", ""])
def test_what_is_no_address_is_told(address):
    with pytest.raises(UserError, match="is no address of a dashboard"):
        reach(address)


def test_nobody_there_is_told_with_the_tunnel():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(UserError, match="Connection refused") as caught:
        reach(address)
    assert "ray dashboard cluster.yaml" in str(caught.value)


def test_one_that_never_answers_is_given_up_soon(monkeypatch):
    """A tunnel whose other end is gone takes the connection and says nothing."""
    monkeypatch.setattr(dashboard, "WAIT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(UserError, match="timed out"):
            reach(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - start < 5


def test_one_that_speaks_no_http_is_told():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def speak():
            with server.accept()[0] as other:
                other.sendall(b"SSH-2.0-OpenSSH\r\n")

        threading.Thread(target=speak, daemon=True).start()
        with pytest.raises(UserError, match="no dashboard answers"):
            reach(f"http://127.0.0.1:{server.getsockname()[1]}")
