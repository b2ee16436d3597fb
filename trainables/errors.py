"""A user's mistake, as this room reports it: what is wrong, at which key, how to mend it."""


class InputError(ValueError):
    """Raised for input that the user can mend. ``key`` is the dotted key of the spec."""

    def __init__(self, what: str, *, key: str = "", fix: str = ""):
        super().__init__(what)
        self.what, self.key, self.fix = what, key, fix


class AbsentError(InputError):
    """Raised for data that are not on this machine."""
