"""The small text files of a sweep's folder, read as what anybody may have written.

UserError, with the file's place and a cure, for one that is damaged; nothing in it is executed.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.errors import Problem, UserError
from orchestrator.stores import Store

# yaml.safe_load lets these through for dates, numbers and tags that are none, and for deep nesting.
_LEAKS = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


def resolved(store: Store) -> dict[str, Any] | None:
    """The resolved spec of a sweep's folder, or None where there is none yet."""
    import yaml

    content = store.read("resolved.yaml")
    if content is None:
        return None
    try:
        tree = yaml.safe_load(content)
    except (yaml.YAMLError, *_LEAKS):
        tree = None
    if not _is_tree(tree):
        raise damaged(store, "resolved.yaml",
                       "move it away: running the sweep's spec again writes it anew")
    return tree


def _is_tree(tree: Any) -> bool:
    maps = ("data", "model", "train", "measure", "sweep")
    if not isinstance(tree, dict) or not all(isinstance(tree.get(n, {}), dict) for n in maps):
        return False
    search = tree.get("sweep", {}).get("search")
    return search is None or (isinstance(search, dict) and isinstance(search.get("sampler"), str)
                              and isinstance(search.get("runs"), int) and search["runs"] > 0)


def ids(store: Store, path: str) -> list[str]:
    """The lines of a list of ids; none where the file is absent."""
    return text(store, path).split()


def text(store: Store, path: str) -> str:
    """A file of UTF-8; empty where it is absent."""
    try:
        return (store.read(path) or b"").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise damaged(store, path, "move it away: running the sweep's spec again writes it "
                       "anew") from None


def record(store: Store, path: str, keys: Sequence[str], fix: str) -> dict[str, Any] | None:
    """A JSON object that has ``keys``; None where the file is absent."""
    content = store.read(path)
    if content is None:
        return None
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, Mapping) or not all(key in found for key in keys):
        raise damaged(store, path, fix)
    return dict(found)


def damaged(store: Store, path: str, fix: str) -> UserError:
    """What is said of a file that is not as it was written."""
    return UserError(Problem("damaged, or not written by sgdscope", f"{store.where}/{path}", fix))
