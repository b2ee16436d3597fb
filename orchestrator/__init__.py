"""sgdscope from Python: ``plan``, ``run`` and ``probe`` do what the commands of their names do."""

__version__ = "0.1.0"


def plan(source, *, overrides=(), storage=None, yes=False, presume=False):
    """The plan of a spec (a file's path or a preset's name). UserError for bad input.

    ``presume``: well-known data that are not on this machine are taken to be as their name says;
    such a plan tells costs and cannot be run.
    """
    from orchestrator.planner import make_plan
    from orchestrator.spec import load_spec

    return make_plan(load_spec(str(source), with_storage(overrides, storage)), yes=yes,
                     presume=presume)


def with_storage(overrides, storage):
    """The overrides of a spec, with one more for its storage unless that is None."""
    import json

    return [*overrides, *([f"storage={json.dumps(str(storage))}"] if storage is not None else [])]


def run(source, *, overrides=(), storage=None, inline=False, address=None, yes=False):
    """Runs a sweep to its report and returns its folder (a Path, or a URI where
    the storage is one).

    The same call again goes on where an earlier one stopped. ``inline`` trains in this process
    instead of on Ray; ``address`` names a running Ray cluster.
    """
    from orchestrator import session

    return session.run(str(source), overrides=with_storage(overrides, storage), yes=yes,
                       inline=inline, address=address).folder


def probe(source, *, overrides=(), storage=None, inline=False, address=None):
    """Makes the probes that are missing of a sweep that was run; returns its folder.

    ``source``: a spec, whose section ``probes`` may have changed, or the sweep's folder.
    """
    from orchestrator.session import run_sweep

    planned = plan_of_sweep(source, overrides=overrides, storage=storage)
    return run_sweep(planned, inline=inline, address=address, probes_only=True).folder


def plan_of_sweep(source, *, overrides=(), storage=None, yes=False):
    """The plan of a spec, or of the spec that a sweep's folder was made by."""
    from orchestrator.planner import make_plan
    from orchestrator.spec import load_folder
    from orchestrator.stores import open_store, reach

    reach(source)
    if storage is not None or open_store(source).read("resolved.yaml") is None:
        return plan(source, overrides=overrides, storage=storage, yes=yes)
    return make_plan(load_folder(source, overrides), yes=yes)
