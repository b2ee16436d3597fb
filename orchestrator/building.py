"""Packs as trainables build them, of an engine whose step can be made on this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def build(wanted: Mapping[str, Any], base_dir: Path, device: Any) -> Any:
    """The pack of ``wanted``: its ``members`` (run_id, config), ``width`` and ``engine``."""
    from trainables.datasets import load
    from trainables.pack import Member, Pack

    members = [Member(m["run_id"], m["config"]) for m in wanted["members"]]
    data = load(members[0].config["data"], base_dir)
    return Pack(members, data, width=wanted["width"], engine=wanted["engine"], device=device,
                base_dir=base_dir)


def build_working(wanted: Mapping[str, Any], base_dir: Path, device: Any) -> Any:
    """A pack that was never begun, of the plain engine where its step cannot be compiled here."""
    from orchestrator.choosing import graph_id, note_made
    from trainables.compiling import CannotCompile
    from trainables.engines import convolves
    from trainables.step import prepare

    pack = build(wanted, base_dir, device)
    try:
        prepare(pack)
    except CannotCompile:
        plain = {**wanted, "engine": pack.engine.name.removesuffix("-compiled")}
        return build(plain, base_dir, device)
    if pack.engine.compiled:
        note_made(graph_id(pack.configs[0], pack.width, convolves=convolves(pack.trainer)))
    return pack


def check_works(pack: Any) -> None:
    """RuntimeError, in words, where a pack that was begun cannot go on here: its engine is fixed,
    as another one's bits differ."""
    from trainables.compiling import CannotCompile
    from trainables.step import prepare

    try:
        prepare(pack)
    except CannotCompile as error:
        raise RuntimeError(
            f"the pack was begun with compiled steps, which cannot be made here ({error}): install "
            "a C++ compiler, or go on where it was begun") from error
