"""Where a command's time goes: with SGDSCOPE_TIMELINE=FILE, its phases as lines of JSON.

Worker processes inherit the variable and write to the same file. Without it nothing is written.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "SGDSCOPE_TIMELINE"


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Logs the start and end (Unix seconds) of what is done in it, and its thread's CPU seconds."""
    path = os.environ.get(VARIABLE)
    if path is None:
        yield
        return
    start, cpu = time.time(), time.thread_time()
    try:
        yield
    finally:
        line = {"phase": name, "pid": os.getpid(), "thread": threading.current_thread().name,
                "start": start, "end": time.time(), "cpu": time.thread_time() - cpu}
        with Path(path).open("a") as file:  # one short line: appended whole
            file.write(json.dumps(line) + "\n")
