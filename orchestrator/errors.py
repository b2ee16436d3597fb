"""What users did wrong, told in one family: what, where, how to mend it. All of it at once."""

from dataclasses import dataclass

SHOWN = 12


@dataclass(frozen=True)
class Problem:
    """One problem, in at most four lines."""

    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        lines = [f"error: {_line(self.what, 400)}"]
        lines += [f"  at {_line(self.where, 300)}"] if self.where else []
        lines += [f"  {_line(self.fix, 600)}"] if self.fix else []
        return "\n".join(lines)


class UserError(Exception):
    """Input that the user can mend. The command line prints it and exits with 2."""

    def __init__(self, *problems: Problem):
        super().__init__(*problems)
        self.problems = tuple(dict.fromkeys(problems))

    def __str__(self) -> str:
        shown = [str(p) for p in self.problems[:SHOWN]]
        more = len(self.problems) - SHOWN
        return "\n".join([*shown, *([f"… and {more} more problems"] if more > 0 else [])])


def _line(text: str, most: int) -> str:
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
