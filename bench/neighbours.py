"""Processes that share one device, each training single runs by the eager loop (``rivals``)."""

import multiprocessing
import time
from multiprocessing.connection import Connection
from types import TracebackType

import torch

from bench import rivals
from bench.shapes import Shape

_PATIENCE_S = 120.0  # for a process to start, to warm up, or to answer


def finished(device: str) -> None:
    """Waits for what the device still has to do."""
    if device == "cuda":
        torch.cuda.synchronize()


def speed(step: rivals.Step, seconds: float, device: str) -> float:
    """Steps per second of the clock; the step has to be warm."""
    finished(device)
    begun, count = time.perf_counter(), 4
    for t in range(count):
        step(t)
    finished(device)
    one = (time.perf_counter() - begun) / count
    count = max(4, round(seconds / one))
    begun = time.perf_counter()
    for t in range(count):
        step(t)
    finished(device)
    return count / (time.perf_counter() - begun)


def plain(shape: Shape, device: str) -> rivals.Step:
    """The eager loop, warm, with the settings that suit it best."""
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    step = rivals.eager(shape, device)
    for t in range(10):
        step(t)
    return step


class Neighbours:
    """``count`` processes with a context of the device each, kept over many shapes."""

    def __init__(self, count: int, device: str):
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_work, args=(theirs, device), daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)

    def speed(self, shape: Shape, seconds: float) -> float:
        """Steps per second of all of them together; RuntimeError with what went wrong."""
        for order in ((shape, seconds), "go"):
            for pipe in self._pipes:
                pipe.send(order)
            answers = [_answer(pipe) for pipe in self._pipes]
        return sum(answers)

    def __enter__(self) -> "Neighbours":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
            process.join()


def _answer(pipe: Connection) -> float:
    if not pipe.poll(_PATIENCE_S):
        raise RuntimeError(f"a process has not answered for {_PATIENCE_S:.0f} s")
    found = pipe.recv()
    if isinstance(found, str):
        raise RuntimeError(found)
    return found


def _work(pipe: Connection, device: str) -> None:
    torch.set_num_threads(1)
    step: rivals.Step | None = None
    seconds = 0.0
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        try:
            if order == "go":
                pipe.send(speed(step, seconds, device) if step else "not begun")
            else:
                shape, seconds = order
                step = plain(shape, device)
                finished(device)
                pipe.send(0.0)
        except Exception as error:  # noqa: BLE001 (told to the parent, which goes on)
            step = None
            pipe.send(f"{type(error).__name__}: {error}")
