"""Several drivers of one sweep in virtual time: one call of a store at a time, in a seeded order.

The real code runs in a greenlet a driver; at every call of its store a driver stops until the world
lets it go on, or kills it or loses its answer there. So a seed is a schedule, always the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from greenlet import getcurrent, greenlet

from analysis.errors import StorageError
from tests.faults.memory import HookedStore
from tests.faults.nemesis import Killed

FATES = ("before", "after", "refused", "lost")  # killed before or after; an error, likewise


@dataclass
class Driver:
    """One that works on the sweep. ``waiting``: the call that it is about to make."""

    name: str
    wakes: float = 0.0
    fate: str = ""
    waiting: tuple[str, str] = ("", "")
    error: BaseException | None = None
    thread: Any = None

    @property
    def over(self) -> bool:
        return self.thread.dead


class World:
    """``store``: what the drivers share. ``history``: all calls in their order, as (driver, call,
    path, fate). ``inside``: drivers stop inside the store, whose own calls go through ``around``,
    rather than at each call of it."""

    def __init__(self, store: Any, *, inside: bool = False):
        self.now = 0.0
        self.store = store if inside else HookedStore(store, self.around)
        self.drivers: list[Driver] = []
        self.history: list[tuple[str, str, str, str]] = []

    def start(self, work: Callable[[Any], None]) -> Driver:
        """A new driver, at its first call."""
        driver = Driver(f"driver {len(self.drivers)}")

        def life() -> None:
            try:
                work(self.store)
            except BaseException as error:  # noqa: BLE001  (told to whoever asks)
                driver.error = error

        driver.thread = greenlet(life)
        self.drivers.append(driver)
        driver.thread.switch()
        return driver

    def go(self, driver: Driver, fate: str = "") -> None:
        """Lets a driver do the call that it waits at, and come to the next."""
        driver.fate = fate
        driver.thread.switch()

    def finish(self, driver: Driver) -> Driver:
        """Lets a driver come to its end."""
        while not driver.over:
            self.go(driver)
        return driver

    def alive(self) -> list[Driver]:
        """The drivers that have not ended."""
        return [d for d in self.drivers if not d.over]

    def around(self, call: str, path: str, effect: Callable[[], Any], _torn: Any = None) -> Any:
        """The hook of a store, or the nemesis of what is inside it."""
        driver = next((d for d in self.drivers if d.thread is getcurrent()), None)
        if driver is None:  # a look from outside, or a thread of a reader's own
            return effect()
        if driver.fate in ("before", "after"):
            raise Killed  # it is dead
        driver.waiting = (call, path)
        driver.thread.parent.switch()
        self.history.append((driver.name, call, path, driver.fate))
        if driver.fate in ("before", "refused"):
            raise _error(driver.fate)
        found = effect()
        if driver.fate in ("after", "lost"):
            raise _error(driver.fate)
        return found


def _error(fate: str) -> BaseException:
    return Killed() if fate in ("before", "after") else StorageError("no answer", where="memory")
