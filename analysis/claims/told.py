"""Judged claims as lines of a terminal."""

from collections.abc import Sequence

from analysis.claims.claim import Effect, Judged, Verdict
from analysis.labels import count, interval, listed, number

ORDER = (Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED)
_SIDES = {"above": "> {}", "below": "< {}", "within": "within ±{}", "outside": "beyond ±{}"}


def effect(found: Effect) -> str:
    """``Spearman(η/S, λ_max) = −0.98 [−0.99, −0.97] (claimed < −0.8; 5 seeds)``."""
    numbers = interval(found.interval.value, found.interval.low, found.interval.high)
    side = _SIDES[found.side].format(number(found.bound))
    return f"{found.name} = {numbers} (claimed {side}; {count(found.units, found.unit)})"


def lines(judged: Sequence[Judged], *, untested: bool = False) -> list[str]:
    """The claims of one sweep: verdict, number and name, then the effects and what is said.

    Of those that the sweep cannot test, the ones that its spec lists are named with what it lacks;
    ``untested``: all of them.
    """
    found = []
    for verdict in ORDER:
        for one in (j for j in judged if j.verdict is verdict):
            found += _claim(one)
    rest = [j for j in judged if j.verdict is Verdict.UNTESTED]
    named = [j for j in rest if untested or j.listed]  # what the spec asks for is always answered
    found += [f"{'not tested':<10} {j.claim.number:<3} {j.claim.id}: needs {j.needs}"
              for j in named]
    if len(rest) > len(named):
        found.append(f"{count(len(rest) - len(named), 'other claim')} cannot be tested on this "
                     "sweep (--all names them)" if named else
                     f"{count(len(rest), 'claim')} cannot be tested on this sweep (--all names "
                     "them)")
    return found


def _claim(one: Judged) -> list[str]:
    judgement = one.judgement
    assert judgement is not None
    head = f"{one.verdict!s:<10} {one.claim.number:<3} {one.claim.id}"
    said = [f"{head}  ({judgement.stop_rule})" if judgement.stop_rule else head,
            f"    {judgement.said}", *(f"    {effect(e)}" for e in judgement.effects)]
    if judgement.note:
        said.append(f"    note: {judgement.note}")
    if one.decides:
        said.append(f"    would decide it: {one.decides}")
    return said


def summary(judged: Sequence[Judged]) -> str:
    """``12 claims tested: 9 hold, 2 fail, 1 undecided``."""
    verdicts = [j.verdict for j in judged if j.verdict is not Verdict.UNTESTED]
    words = {Verdict.HOLDS: ("holds", "hold"), Verdict.FAILS: ("fails", "fail"),
             Verdict.UNDECIDED: ("undecided", "undecided")}
    counts = {verdict: verdicts.count(verdict) for verdict in ORDER if verdict in verdicts}
    parts = [f"{n} {words[verdict][n > 1]}" for verdict, n in counts.items()]
    return f"{count(len(verdicts), 'claim')} tested: {listed(parts)}" if parts else \
        "no claim can be tested"


def outcome(judged: Sequence[Judged]) -> str:
    """The claims that the sweep was made to judge, by verdict, in one clause; empty if it has none:
    ``of its claims fits_patterns_first (A3) holds; noise_costs_accuracy (A5) fails``."""
    words = {Verdict.HOLDS: ("holds", "hold"), Verdict.FAILS: ("fails", "fail"),
             Verdict.UNDECIDED: ("is undecided", "are undecided"),
             Verdict.UNTESTED: ("cannot be tested", "cannot be tested")}
    parts = []
    for verdict, (one, several) in words.items():
        names = [_name(j) for j in judged if j.listed and j.verdict is verdict]
        if names:
            parts.append(f"{listed(names, 12)} {one if len(names) == 1 else several}")
    return f"of its claims {'; '.join(parts)}" if parts else ""


def _name(one: Judged) -> str:
    name = one.claim.id.rpartition("/")[2]
    return f"{name} ({one.claim.number})" if one.claim.number else name


def brief(one: Judged) -> str:
    """``holds: catapult (I1): at η·λ₀ = 2.9 to 8.7 the loss first grows 38 times``."""
    found = one.judgement.said if one.judgement else f"needs {one.needs}"
    return f"{one.verdict}: {_name(one)}: {found}"


def across(several: Sequence[Sequence[Judged]]) -> list[str]:
    """Of several sweeps: a line a claim, with its verdict and effects in the sweeps that were made
    to judge it (in all that test it, where none was), then how it came out elsewhere; last, those
    that none tests."""
    by_claim: dict[str, list[Judged]] = {}
    for one in (j for judged in several for j in judged):
        by_claim.setdefault(one.claim.id, []).append(one)
    found, never = ["", f"{'claim':<52} {'expected':<8} verdict"], []
    for name, every in sorted(by_claim.items(), key=lambda pair: _place(pair[1][0])):
        tested = [j for j in every if j.verdict is not Verdict.UNTESTED]
        if not tested:
            never.append(name)
            continue
        made = [j for j in tested if j.listed] or tested
        head = f"{every[0].claim.number:<3} {name:<48} {every[0].claim.grade:<8}"
        for one in made:
            found.append(f"{head} {one.verdict} ({one.sweep})")
            found += [f"      {effect(e)}" for e in one.judgement.effects[:4]]
        rest = [f"{j.verdict} ({j.sweep})" for j in tested if j not in made]
        found += [f"      elsewhere: {'; '.join(rest)}"] if rest else []
    return found + ([f"tested nowhere: {', '.join(never)}"] if never else [])


def _place(one: Judged) -> tuple[str, str, int]:
    number = one.claim.number
    return number[:1] or "~", one.claim.id.partition("/")[0], int(number[1:] or 0)
