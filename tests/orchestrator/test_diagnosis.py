"""The doctor: fine where a sweep can run, and what to do where not."""

import importlib.metadata
import json
import shutil

from orchestrator import diagnosis
from tests.s3server import BUCKET, s3_server


def by_name(checks):
    return {c.what: c for c in checks}


def test_this_machine(tmp_path):
    checks = diagnosis.examine(tmp_path / "sweeps")
    found = by_name(checks)
    assert {"python", "torch", "ray", "CPUs", "GPUs", "storage", "free space"} <= found.keys()
    assert found["torch"].found == importlib.metadata.version("torch")
    assert found["storage"].fine
    assert list(tmp_path.iterdir()) == []
    assert [c["what"] for c in json.loads(diagnosis.as_json(checks))] == [c.what for c in checks]


def test_a_compiler_that_only_the_environment_names_is_found(tmp_path, monkeypatch):
    """As the engines' choice finds it."""
    compiler = tmp_path / "my-compiler"
    compiler.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", str(compiler))
    found = by_name(diagnosis.examine(tmp_path / "sweeps"))["C++ compiler"]
    assert found.fine
    assert found.found.startswith("found")


def test_what_is_wrong_comes_with_what_to_do(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(diagnosis.importlib.metadata, "version", missing)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.delenv("CXX", raising=False)
    (tmp_path / "file").write_text("x")
    checks = diagnosis.examine(tmp_path / "file" / "sweeps")
    found = by_name(checks)
    assert not found["ray"].fine
    assert not found["storage"].fine
    assert found["C++ compiler"].fine  # the plain engines serve
    assert "steps are not compiled" in found["C++ compiler"].found
    lines = diagnosis.as_text(checks).splitlines()
    for check in checks:
        at = next(i for i, line in enumerate(lines) if line[4:].startswith(f"{check.what} "))
        assert lines[at].startswith("ok " if check.fine else "BAD")
        assert check.fine or lines[at + 1].strip() == check.fix


def test_a_token_that_others_may_read_is_told(tmp_path, monkeypatch):
    """As Ray itself leaves it."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    said = [diagnosis._token()]
    for mode in (0o644, 0o600):
        (tmp_path / "token").write_text("abc")
        (tmp_path / "token").chmod(mode)
        said.append(diagnosis._token())
    assert [s.found.split(":")[0] for s in said] == [
        "none", "there, but other users may read it", "there, and yours alone"]
    assert f"chmod 600 {tmp_path}/token" in said[1].found
    assert all(s.fine for s in said)


def test_a_storage_that_is_a_bucket_or_nothing():
    with s3_server():
        found = by_name(diagnosis.examine(f"s3://{BUCKET}/doctor"))
        assert found["storage"].fine
        assert found["free space"].found == "an object store has no end"
        assert not by_name(diagnosis.examine("s3://no-such-bucket/x"))["storage"].fine
    found = by_name(diagnosis.examine("nowhere://x"))
    assert not found["storage"].fine
    assert not found["free space"].fine
    assert "cannot open nowhere://x" in found["free space"].found
