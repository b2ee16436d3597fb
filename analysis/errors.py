"""A table or folder that cannot be read as ours: what is wrong, where, how to mend it."""


class TableError(ValueError):
    """Raised for a sweep's folder that is absent, damaged, foreign or newer than this reader."""

    def __init__(self, what: str, *, where: str = "", fix: str = ""):
        super().__init__("\n".join(line for line in (what, where, fix) if line))
        self.what, self.where, self.fix = what, where, fix


class StorageError(TableError, OSError):
    """The storage does not answer, or refuses. ``errno`` as the system gave it, if it did."""

    def __init__(self, what: str, *, where: str = "", fix: str = "", number: int | None = None):
        super().__init__(what, where=where, fix=fix)
        self.errno, self.strerror = number, what

    def __str__(self) -> str:
        """On one line: of a worker's traceback the last line is shown."""
        at = f" at {self.where}" if self.where else ""
        return f"{self.what}{at}" + (f"; {self.fix}" if self.fix else "")


class Note(UserWarning):
    """What a reader should be told once, in a line."""


class LeftAside(Note):
    """Warned of a compacted table that is not used; the table's parts are read in its place."""

    def __init__(self, where: str, why: str):
        super().__init__(f"{where} is left aside: {why}; `sgdscope compact` writes it anew")
