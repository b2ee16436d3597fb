"""The nodes of a running Ray, of which there is one here: it is asked and found good."""

import json
import socket
from contextlib import closing

import pytest

from orchestrator import clusterdoctor, nodes, survey
from orchestrator.cluster import Cluster
from orchestrator.errors import UserError


@pytest.fixture(scope="module")
def running():
    with closing(Cluster()) as cluster:
        cluster.wait()
        yield cluster


def test_a_good_node_and_its_storage(running, tmp_path):
    found = clusterdoctor.look(running, tmp_path / "not" / "yet")
    (node,) = found.nodes
    assert (node.name, node.silent, node.reads) == (socket.gethostname(), "", True)
    assert node.versions == nodes.versions()
    assert node.token
    assert node.cpus >= 1
    assert (found.problems, found.warnings) == ([], [])
    assert list(tmp_path.iterdir()) == []  # nothing stays, not even the folder
    assert found.text().endswith("all is well")
    assert json.loads(found.json())["problems"] == []


def test_without_a_storage_the_rest_is_asked(running):
    (node,) = clusterdoctor.look(running, None).nodes
    assert node.reads is None


def test_all_that_is_wrong_ends_the_text(running, monkeypatch, tmp_path):
    monkeypatch.setattr(survey.nodes, "versions", lambda: {"ray": "9"})
    found = clusterdoctor.look(running, tmp_path)
    assert "ray is 9 at the driver, but" in found.text().splitlines()[-3]


def test_a_node_that_does_not_answer_is_told(running, monkeypatch):
    monkeypatch.setattr(survey, "PATIENCE_S", 0.0)
    (node,) = clusterdoctor.look(running, None).nodes
    assert node.silent == "nothing heard for 0 s"


def test_relative_storage_is_told_before_anything_starts():
    with pytest.raises(UserError, match="it is another on each node"):
        clusterdoctor.examine("auto", "sweeps")
