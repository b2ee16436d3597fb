"""A claim of the user's own: a function with a few attributes, made a Claim."""

from collections.abc import Callable, Mapping
from typing import Any

from analysis.claims.claim import Claim, Effect, Judgement, NotTested
from analysis.frames import Sweep

GRADES = ("robust", "likely", "open")


def problems(function: Callable[..., Any]) -> list[str]:
    """What the attributes of a user's claim lack, in words; empty if it is one."""
    found = [f"has no attribute `{name}`, a sentence" for name in ("words", "test")
             if not isinstance(getattr(function, name, None), str)]
    if getattr(function, "grade", "open") not in GRADES:
        found.append(f"has grade {function.grade!r}, which is none of {', '.join(GRADES)}")
    options = getattr(function, "options", {})
    if not (isinstance(options, Mapping)
            and all(isinstance(v, int | float) for v in options.values())):
        found.append("has options that are not a map of numbers")
    return found


def claim_of(name: str, function: Callable[..., Any]) -> Claim:
    """The claim of a function of (sweep, options) that returns an Effect, several, or a Judgement.

    Attributes: ``words`` and ``test`` are sentences; ``paper``, ``grade`` and ``options`` may be
    left out. What it raises stands as the reason why it was not tested.
    """

    def judge(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:
        try:
            found = function(sweep, options)
        except NotTested:
            raise
        except Exception as error:
            raise NotTested(
                f"a claim that does not raise {type(error).__name__}: {error}") from error
        if isinstance(found, Judgement):
            return found
        effects = (found,) if isinstance(found, Effect) else tuple(found or ())
        if not effects or not all(isinstance(e, Effect) for e in effects):
            raise NotTested(f"a claim that returns an Effect, not {found!r:.60}")
        said = "; ".join(f"{e.name} = {e.interval.value:.4g}" for e in effects)
        return Judgement(effects, said, getattr(function, "stop_rule", ""))

    return Claim(name, "", str(getattr(function, "paper", "your own")), function.words,
                 function.test, getattr(function, "grade", "open"), judge,
                 dict(getattr(function, "options", {})))


def missing(name: str, why: str) -> Claim:
    """A claim whose function is not to be found: never tested, and says why."""

    def judge(sweep: Sweep, options: Mapping[str, Any]) -> Judgement:  # noqa: ARG001
        raise NotTested(why)

    return Claim(name, "", "your own", name, why, "open", judge)
