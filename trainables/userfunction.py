"""A user's `module:function`: found beside the spec file, else on Python's path, and called."""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from trainables.errors import InputError

LIBRARIES = re.compile(r"site-packages|dist-packages|lib/python3|importlib")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def check_name(name: str, *, key: str) -> None:
    """InputError unless ``name`` reads module:function."""
    if not NAME.fullmatch(name):
        raise InputError(f"`{name}` is not of the form module:function", key=key,
                         fix="write it like my_module:my_function, without `.py`")


def source_file(name: str, base_dir: Path) -> Path | None:
    """The file beside the spec that holds the function; None if it is looked up on the path."""
    module = name.partition(":")[0]
    file = base_dir.joinpath(*module.split(".")).with_suffix(".py")
    return file.resolve() if file.is_file() else None


def find(name: str, base_dir: Path, *, key: str) -> Callable[..., Any]:
    """The function; InputError if module or function are missing or the import fails."""
    check_name(name, key=key)
    module, _, function = name.partition(":")
    with _beside(base_dir):
        try:
            found = _load(module, source_file(name, base_dir))
        except (Exception, SystemExit) as error:
            raise _import_problem(module, base_dir, error, key) from error
    if not callable(getattr(found, function, None)):
        public = [n for n, v in vars(found).items() if callable(v) and not n.startswith("_")]
        raise InputError(f"module `{module}` has no function `{function}`", key=key,
                         fix=f"it has: {', '.join(public[:10]) or 'no functions'}")
    return getattr(found, function)


def call(name: str, base_dir: Path, arguments: tuple[Any, ...], options: Mapping[str, Any], *,
         key: str) -> Any:
    """What the function returns for arguments and options; what it raises, as an InputError.

    Where memory ran out, that passes as it is: no mistake of the function's.
    """
    function = find(name, base_dir, key=key)
    with _beside(base_dir):
        try:
            return function(*arguments, **options)
        except (InputError, MemoryError):
            raise
        except (Exception, SystemExit) as error:
            if _out_of_memory(error):
                raise
            raise InputError(f"{name} raised {_described(error)}", key=key,
                             fix="mend the function, or the options given to it") from error


def _out_of_memory(error: BaseException) -> bool:
    torch = sys.modules.get("torch")  # planning does without
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def _load(module: str, file: Path | None) -> ModuleType:
    if file is not None and "." not in module:
        return _load_file(module, file, file.stat().st_mtime_ns)
    importlib.invalidate_caches()
    loaded = importlib.import_module(module)
    if file is not None and Path(loaded.__file__ or "").resolve() != file:
        raise ImportError(f"another module of that name is in use: {loaded.__file__}")
    return loaded


@lru_cache(maxsize=32)
def _load_file(module: str, file: Path, _modified: int) -> ModuleType:
    # A name of its own: another spec's file, or an installed package, may be called the same.
    name = f"{module}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # dataclasses and typing look their module up there
    try:
        spec.loader.exec_module(loaded)
    except BaseException:
        del sys.modules[name]
        raise
    return loaded


@contextmanager
def _beside(base_dir: Path) -> Iterator[None]:
    """The spec's folder in front of Python's path, so that a user's module finds its siblings."""
    folder = str(base_dir.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with suppress(ValueError):
            sys.path.remove(folder)


def _import_problem(module: str, base_dir: Path, error: BaseException, key: str) -> InputError:
    if isinstance(error, ModuleNotFoundError) and module.startswith(error.name or "\0"):
        return InputError(f"there is no module `{module}`", key=key,
                          fix=f"put {module.replace('.', '/')}.py into {base_dir.resolve()}, "
                              "or install it")
    return InputError(f"importing `{module}` raised {_described(error)}", key=key,
                      fix="mend the module")


def _described(error: BaseException) -> str:
    """'ValueError: no such set (my_data.py:12)'."""
    first = (str(error).strip().splitlines() or [""])[0]
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        first, frames = error.msg, [(error.filename, error.lineno)]
    users = [f for f in frames if not LIBRARIES.search(f[0]) and f[0] != __file__] or frames
    file, line = users[-1]
    return f"{type(error).__name__}{': ' if first else ''}{first} ({Path(file).name}:{line})"
