"""A table or folder that cannot be read as ours: what is wrong, where, how to mend it."""


class TableError(ValueError):
    """Raised for a sweep's folder that is absent, damaged, foreign or newer than this reader."""

    def __init__(self, what: str, *, where: str = "", fix: str = ""):
        super().__init__("\n".join(line for line in (what, where, fix) if line))
        self.what, self.where, self.fix = what, where, fix
