"""`sgdscope doctor --address`: a running cluster's nodes, and what would stop a sweep there."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from orchestrator import nodes
from orchestrator.cluster import Cluster
from orchestrator.errors import Problem, UserError
from orchestrator.nodes import Node
from orchestrator.stores import Place, placed


@dataclass(frozen=True)
class Findings:
    """What was found: the nodes, what would stop a sweep, and what should be known."""

    nodes: Sequence[Node]
    problems: Sequence[Problem]
    warnings: Sequence[str]

    def text(self) -> str:
        """What a person reads."""
        return "\n".join([nodes.as_text(self.nodes), *(f"warning: {w}" for w in self.warnings),
                          str(UserError(*self.problems)) if self.problems else "all is well"])

    def json(self) -> str:
        """For programs."""
        return nodes.as_json(self.nodes, self.problems)


def examine(address: str, storage: str | None) -> Findings:
    """The nodes of the cluster at an address, with a storage tried from each if one is given."""
    if storage is not None and "://" not in storage and not storage.startswith(("/", "~")):
        raise UserError(Problem(f"storage {storage!r} is relative: it is another on each node",
                                "--storage", nodes.WAYS_OUT))
    with closing(Cluster(address)) as cluster:
        return look(cluster, None if storage is None else placed(storage))


def look(cluster: Cluster, storage: Place | None) -> Findings:
    """The nodes of a cluster that is connected, or will be."""
    cluster.wait()
    from orchestrator.survey import survey

    found, unseen = survey(storage)
    return Findings(found, nodes.problems(found, nodes.versions(), str(storage or ""), unseen),
                    nodes.warnings(found))
