"""module:function of a user: found beside the spec first, and every way it can go wrong."""

import os
import sys

import pytest
import torch

from trainables import userfunction
from trainables.errors import InputError


def write(folder, **modules):
    for name, source in modules.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)


def test_beside_the_spec_wins_over_an_installed_module(tmp_path):
    write(tmp_path, json="def dumps(x):\n    return 'mine'\n")
    assert userfunction.find("json:dumps", tmp_path, key="k")(1) == "mine"
    assert userfunction.find("json:dumps", tmp_path / "elsewhere", key="k")(1) == "1"


def test_two_specs_have_files_of_the_same_name(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder, mydata=f"def f():\n    return '{folder}'\n")
    assert [userfunction.call("mydata:f", tmp_path / x, (), {}, key="k") for x in "aba"] == [
        "a", "b", "a"]


def test_a_changed_file_is_read_again(tmp_path):
    write(tmp_path, mine="def f():\n    return 1\n")
    assert userfunction.call("mine:f", tmp_path, (), {}, key="k") == 1
    write(tmp_path, mine="def f():\n    return 22\n")
    os.utime(tmp_path / "mine.py", ns=(1, 1))
    assert userfunction.call("mine:f", tmp_path, (), {}, key="k") == 22


def test_siblings_dataclasses_and_late_imports(tmp_path):
    # dataclasses look their module up in sys.modules; the late import runs within the call.
    write(tmp_path, sibling_of_mine="VALUE = 5\n", late_of_mine="VALUE = 7\n", mine=(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from sibling_of_mine import VALUE\n\n@dataclass\nclass C:\n    x: int\n\n"
        "def f(y, *, z):\n    import late_of_mine\n    return C(VALUE + late_of_mine.VALUE + y + z)"
        "\n"))
    before = list(sys.path)
    assert userfunction.call("mine:f", tmp_path, (1,), {"z": 2}, key="k").x == 15
    assert sys.path == before


def test_dotted_module_with_relative_imports(tmp_path):
    write(tmp_path, userpkg____init__="", userpkg__part="from .other import f\n",
          userpkg__other="def f():\n    return 3\n")
    (tmp_path / "userpkg").mkdir(exist_ok=True)
    (tmp_path / "userpkg" / "__init__.py").write_text("")
    assert userfunction.call("userpkg.part:f", tmp_path, (), {}, key="k") == 3
    # Python knows that name now: another folder's must be refused, not taken for it.
    write(tmp_path / "b", userpkg__part="def f():\n    return 4\n")
    with pytest.raises(InputError, match="another module of that name"):
        userfunction.find("userpkg.part:f", tmp_path / "b", key="k")


BROKEN = [
    ("nosuch:f", "", "no module `nosuch`", "nosuch.py"),
    ("bad:g", "def f(): pass", "has no function `g`", "it has: f"),
    ("bad:X", "X = 3", "has no function `X`", "no functions"),
    ("bad:f", "import nosuchthing", "importing `bad` raised ModuleNotFoundError", "mend"),
    ("bad:f", "def f(:", "raised SyntaxError: invalid syntax (bad.py:1)", "mend"),
    ("bad:f", "\n1/0", "ZeroDivisionError: division by zero (bad.py:2)", "mend"),
    ("bad:f", "raise SystemExit(3)", "SystemExit", "mend"),
    ("bad:f", "def f():\n    raise KeyError('x')", "bad:f raised KeyError: 'x' (bad.py:2)", "mend"),
    ("bad:f", "def f(a): pass", "missing 1 required positional argument", "options"),
    ("bad:f", "import sys\ndef f():\n    sys.exit()", "SystemExit", "mend"),
    ("bad:f", "import numpy\ndef f():\n    numpy.zeros(-1)", "(bad.py:3)", "mend"),
    ("bad", "", "not of the form module:function", "my_module:my_function"),
    ("bad.py:f", "", "no module `bad.py`", "bad/py.py"),
    ("../bad:f", "", "not of the form", "my_module"),
]


@pytest.mark.parametrize(("name", "source", "what", "fix"), BROKEN)
def test_broken(tmp_path, name, source, what, fix):
    if source:
        write(tmp_path, bad=source)
    with pytest.raises(InputError) as caught:
        userfunction.call(name, tmp_path, (), {}, key="data.name")
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.key == "data.name"


def test_an_input_error_of_the_user_passes_as_it_is(tmp_path):
    write(tmp_path, mine="from trainables.errors import InputError\n"
                         "def f():\n    raise InputError('too old', key='data.options')\n")
    with pytest.raises(InputError, match=r"^too old$"):
        userfunction.call("mine:f", tmp_path, (), {}, key="k")


@pytest.mark.parametrize(("error", "what"), [
    ("MemoryError('no room')", MemoryError), ("torch.OutOfMemoryError('no room')",
                                              torch.OutOfMemoryError)])
def test_memory_that_ran_out_is_no_mistake_of_the_function(tmp_path, error, what):
    write(tmp_path, mine=f"import torch\n\n\ndef f():\n    raise {error}\n")
    with pytest.raises(what, match="no room"):
        userfunction.call("mine:f", tmp_path, (), {}, key="k")
