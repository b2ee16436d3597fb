"""An S3 server of our own: moto, in a process of its own, over real HTTP."""

import atexit
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from orchestrator import stores

BUCKET = "sweeps"
_PATIENCE_S = 240.0  # on a loaded machine


def _environment(endpoint: str) -> dict[str, str]:
    """What a user sets to work with this server."""
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def s3_server() -> Iterator[str]:
    """This process's environment points to the server, which has one bucket; its endpoint."""
    endpoint = _served()
    before = {name: os.environ.get(name) for name in _environment(endpoint)}
    quick, stores.QUICK_S = stores.QUICK_S, _PATIENCE_S
    os.environ.update(_environment(endpoint))
    try:
        import boto3

        boto3.client("s3").create_bucket(Bucket=BUCKET)  # it may be there: it is ours
        yield endpoint
    finally:
        stores.QUICK_S = quick
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


@cache
def _served() -> str:
    """Starts it, once for all tests of this process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    atexit.register(server.kill)
    _wait(endpoint, server)
    return endpoint


def _wait(endpoint: str, server: subprocess.Popen) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()  # noqa: S310  (our own)
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, "moto did not start"
            assert time.monotonic() < give_up, "moto does not answer"
            time.sleep(0.05)
