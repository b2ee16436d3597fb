"""Paths and URIs: what is meant, what is refused, and that no secret is repeated."""

from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.stores.place import bucket_of, inside, parted, placed, scheme


@pytest.mark.parametrize(("given", "meant"), [
    ("sweeps", Path.cwd() / "sweeps"), (Path("sweeps"), Path.cwd() / "sweeps"),
    ("~/x", Path.home() / "x"), ("file:///tmp/a%20b", Path("/tmp/a b")),  # noqa: S108
    ("s3://bucket/x/", "s3://bucket/x"), ("S3://bucket", "s3://bucket"),
    ("hdfs://user@host:9000/x", "hdfs://user@host:9000/x"),
    ("abfs://box@account.dfs.core.windows.net/x", "abfs://box@account.dfs.core.windows.net/x"),
    ("gs://bucket/x?retry_limit_seconds=5", "gs://bucket/x?retry_limit_seconds=5"),
])
def test_what_is_meant(given, meant):
    assert placed(given) == meant
    assert placed(placed(given)) == meant


@pytest.mark.parametrize(("place", "child"), [
    (Path("/a"), Path("/a/n")), ("s3://b/x", "s3://b/x/n"), ("gs://b/x?a=1", "gs://b/x/n?a=1"),
])
def test_a_sweep_in_its_storage(place, child):
    assert inside(place, "n") == child
    assert parted(child) == (place, "n")


@pytest.mark.parametrize(("uri", "words"), [
    ("s3://", "names no bucket"), ("s3:///x", "names no bucket"), ("s3://b:80/x", "no bucket"),
    ("s3://user@b/x", "no bucket"), ("s3://b/a/../x", "leads upwards"),
    ("s3://b/x?region=eu-west-1", "AWS_REGION"), ("s3://[/x", "no URI"),
    ("s3://AKIA:hush@b/x", "holds credentials"), ("gs://b/x?access_token=hush", "credentials"),
    ("abfs://b/x?sas_token=hush", "credentials"), ("hdfs://me:hush@host/x", "credentials"),
])
def test_what_cannot_be_meant_is_refused_without_its_secrets(uri, words):
    with pytest.raises(UserError, match=words) as caught:
        placed(uri)
    assert "hush" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_schemes_and_buckets():
    assert [scheme(g) for g in ("x", Path("s3://b"), "file:///x", "s3://b", "A+b://x")] == [
        "", "", "", "s3", "a+b"]
    assert bucket_of("s3://b//x///y/") == ("b", "x/y")
    assert bucket_of("s3://b") == ("b", "")
