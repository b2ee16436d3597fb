"""Asks every node of a cluster at once, by a task that is pinned to it."""

import uuid
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator import nodes
from orchestrator.nodes import Node
from orchestrator.stores import Place, open_store

PATIENCE_S = 60.0  # the first task on a node starts a process, which imports torch


def survey(storage: Place | None) -> tuple[list[Node], list[str]]:
    """All living nodes, and the files that they wrote to the storage without the driver seeing
    them. Ray must be connected. Leaves nothing in the storage."""
    alive = sorted((n for n in ray.nodes() if n["Alive"]), key=_order)
    if storage is None:
        return _ask(alive, "", ""), []
    tried = getattr(open_store(storage), "anchor", None) or storage
    store, marker = open_store(tried), f"sgdscope-{uuid.uuid4().hex}.trial"
    store.create(marker, b"")
    found: list[Node] = []
    try:
        found = _ask(alive, str(tried), marker)
        there = set(store.names("", marker))
        return found, [n.wrote for n in found if n.wrote and n.wrote not in there]
    finally:
        for name in (marker, *(n.wrote for n in found if n.wrote)):
            store.delete(name)


def _order(node: Mapping[str, Any]) -> tuple[bool, str]:
    """The head first."""
    return "node:__internal_head__" not in node["Resources"], node["NodeManagerAddress"]


def _ask(alive: list[Mapping[str, Any]], storage: str, marker: str) -> list[Node]:
    task = ray.remote(nodes.look)
    asked = [task.options(num_cpus=0, max_retries=0, scheduling_strategy=(
        NodeAffinitySchedulingStrategy(n["NodeID"], soft=False))).remote(storage, marker)
        for n in alive]
    done, _ = ray.wait(asked, num_returns=len(asked), timeout=PATIENCE_S) if asked else ([], [])
    return [_node(n, reference, answered=reference in set(done))
            for n, reference in zip(alive, asked, strict=True)]


def _node(node: Mapping[str, Any], reference: Any, *, answered: bool) -> Node:
    has = node["Resources"]
    known = {"name": node["NodeManagerHostname"], "address": node["NodeManagerAddress"],
             "cpus": has.get("CPU", 0.0), "gpus": has.get("GPU", 0.0)}
    if not answered:
        return Node(**known, silent=f"nothing heard for {PATIENCE_S:g} s")
    try:
        return Node(**known, **ray.get(reference))
    except ray.exceptions.RayError as error:
        return Node(**known, silent=(str(error).strip().splitlines() or ["?"])[-1][:200])
