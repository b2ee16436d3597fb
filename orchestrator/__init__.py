"""sgdscope from Python: ``plan`` and ``run`` do what the commands of the same names do."""

__version__ = "0.1.0"


def plan(source, *, overrides=(), storage=None, yes=False):
    """The plan of a spec (a file's path or a preset's name). UserError for bad input."""
    import json

    from orchestrator.planner import make_plan
    from orchestrator.spec import load_spec

    extra = [f"storage={json.dumps(str(storage))}"] if storage is not None else []
    return make_plan(load_spec(str(source), [*overrides, *extra]), yes=yes)


def run(source, *, overrides=(), storage=None, inline=False, address=None, yes=False):
    """Runs a sweep to its report and returns its folder (a Path).

    The same call again goes on where an earlier one stopped. ``inline`` trains in this process
    instead of on Ray; ``address`` names a running Ray cluster.
    """
    from orchestrator.session import run_sweep

    planned = plan(source, overrides=overrides, storage=storage, yes=yes)
    return run_sweep(planned, inline=inline, address=address).folder
