"""What stands in a sweep's way on a cluster is told at once, with the names of the nodes."""

import json
import os
import socket
import sys

import pytest

from orchestrator import nodes
from orchestrator.nodes import Node, as_json, as_text, listening, look, problems, versions, warnings

HERE = {"python": "3.11", "ray": "2.60.0", "torch": "2.15.0", "sgdscope": "0.1.0"}


def _node(name="a", **changes):
    plain = {"address": f"10.0.0.{ord(name)}", "cpus": 4.0, "gpus": 0.0, "versions": HERE,
             "reads": True, "wrote": f"m.{name}", "free_bytes": 10**11}
    return Node(name, **{**plain, **changes})


def test_a_good_cluster_has_no_problem():
    assert problems([_node("a"), _node("b")], HERE, "/mnt/s") == []
    assert warnings([_node("a")]) == []


@pytest.mark.parametrize(("changes", "words"), [
    ({"silent": "ModuleNotFoundError: No module named 'orchestrator'"},
     "node b does not answer: ModuleNotFoundError"),
    ({"versions": {**HERE, "ray": "2.59.0"}}, "ray is 2.60.0 at the driver, but b has 2.59.0"),
    ({"versions": {**HERE, "torch": "2.14.0"}}, "torch is 2.15.0 at the driver, but b has 2.14"),
    ({"versions": {**HERE, "python": "3.12"}}, "python is 3.11 at the driver, but b has 3.12"),
    ({"versions": {**HERE, "sgdscope": "missing"}}, "but b has missing"),
    ({"reads": False, "wrote": ""}, "not the same folder on all nodes: b does not see"),
    ({"reads": False, "wrote": "", "refused": "no such folder"}, r"\(no such folder\)"),
    ({"wrote": "", "refused": "Permission denied"}, "node b cannot write to /mnt/s: Permission"),
    ({"wrote": "gone"}, "the driver does not see what b wrote to /mnt/s"),
])
def test_each_fault_is_told_with_the_node(changes, words):
    (problem,) = problems([_node("a"), _node("b", **changes)], HERE, "/mnt/s", ["gone"])
    import re

    assert re.search(words, problem.what)
    assert problem.fix


def test_all_problems_are_told_at_once():
    bad = {"versions": {**HERE, "ray": "2.59.0", "torch": "2"}, "reads": False, "wrote": ""}
    told = problems([_node("a"), _node("b", **bad), _node("c", silent="gone")], HERE, "/mnt/s")
    assert len(told) == 4


def test_nodes_of_one_fault_are_told_together():
    two = [_node(n, reads=False, wrote="", versions={**HERE, "ray": "2.5"}) for n in "bc"]
    version, storage = problems([_node("a"), *two], HERE, "/mnt/s")
    assert "b has 2.5, c has 2.5" in version.what
    assert "b, c do not see" in storage.what


def test_without_a_storage_none_is_judged():
    assert problems([_node("a", reads=None, wrote="")], HERE, "") == []


def test_nodes_without_a_token_are_warned_of():
    (said,) = warnings([_node("a", token=False), _node("b"), _node("c", silent="x", token=False)])
    assert said.startswith("a answers without a token")


def test_the_table_has_a_line_a_node():
    text = as_text([_node("a"), _node("b", reads=False, listening=["6379 gcs_server"]),
                    _node("c", silent="gone"), _node("d", reads=None, token=False)])
    lines = text.splitlines()
    assert lines[0].split() == ["node", "address", "CPUs", "GPUs", "python", "ray", "torch",
                                "sgdscope", "storage", "free", "token"]
    assert lines[1].split() == ["a", "10.0.0.97", "4", "0", "3.11", "2.60.0", "2.15.0", "0.1.0",
                                "shared", "100", "GB", "on"]
    assert "NOT SHARED" in lines[2]
    assert lines[3].endswith("does not answer")
    assert lines[4].endswith("OFF")
    assert "b listens beyond loopback: 6379 gcs_server" in text
    assert "a listens beyond loopback: nothing of Ray" in text


def test_json_holds_nodes_and_problems():
    told = problems([_node("a", reads=False, wrote="")], HERE, "/s")
    read = json.loads(as_json([_node("a")], told))
    assert read["nodes"][0]["versions"] == HERE
    assert len(read["problems"]) == 1


def test_a_node_sees_what_lies_in_the_storage_and_writes_beside_it(tmp_path):
    (tmp_path / "m.trial").write_bytes(b"")
    told = look(str(tmp_path), "m.trial")
    assert told["reads"] is True
    assert (tmp_path / told["wrote"]).exists()
    assert told["wrote"].startswith("m.trial.")
    assert told["free_bytes"] > 0
    assert look(str(tmp_path), "other.trial")["reads"] is False


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    """It would look like the shared one from then on."""
    told = look(str(tmp_path / "mnt"), "m.trial")
    assert (told["reads"], told["refused"]) == (False, "no such folder")
    assert not (tmp_path / "mnt").exists()


def test_without_a_storage_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "reads" not in look("", "")
    assert os.listdir(tmp_path) == []  # noqa: PTH208


def test_the_token_is_told_as_the_node_has_it(monkeypatch):
    for mode, on in (("token", True), ("disabled", False), ("", False)):
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
        assert look("", "")["token"] is on


def test_versions_are_those_installed(monkeypatch):
    found = versions()
    assert found["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert set(found) == {"python", *nodes.PACKAGES}
    monkeypatch.setattr(nodes.importlib.metadata, "version", lambda _: "2.15.0+cu128")
    assert versions()["torch"] == "2.15.0"  # the same code, built for another device


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_listens_beyond_loopback_is_found(monkeypatch):
    with socket.socket() as wide, socket.socket() as own, socket.socket(socket.AF_INET6) as six:
        wide.bind(("0.0.0.0", 0))  # noqa: S104  (closed at once)
        own.bind(("127.0.0.1", 0))
        six.bind(("::1", 0))
        for each in (wide, own, six):
            each.listen()
        inodes = {str(os.fstat(s.fileno()).st_ino): "ours" for s in (wide, own, six)}
        monkeypatch.setattr(nodes, "_owners", lambda: inodes.items())
        assert list(listening()) == [f"{wide.getsockname()[1]} ours"]
