"""The rules that keep the rooms apart, held by walking the imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("orchestrator", "trainables", "analysis")
FORBIDDEN = {
    "trainables": {"ray", "optuna", "pandas", "yaml", "click", "orchestrator", "analysis"},
    "analysis": {"ray", "torch", "torchvision", "optuna", "yaml", "click",
                 "orchestrator", "trainables"},
    "orchestrator": set(),
}
# Modules that planning or a reader imports: torch must not be imported by merely importing them.
LIGHT = ("trainables.datasets", "trainables.noise", "trainables.models", "trainables.monitors",
         "analysis.schema", "analysis.tables", "orchestrator.cli", "orchestrator.spec",
         "orchestrator.grid", "orchestrator.stores", "orchestrator.commits",
         "orchestrator.session")
FILES = sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def imports(path, *, top_level=False):
    """Names of the modules that a file imports."""
    tree = ast.parse(path.read_text())
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_only_what_they_may(path):
    room = path.relative_to(ROOT).parts[0]
    bad = {m for m in imports(path) if m.split(".")[0] in FORBIDDEN[room]}
    assert not bad, f"{path.name} imports {sorted(bad)}"


def test_ray_and_optuna_stay_in_their_files():
    users = {p.relative_to(ROOT).as_posix() for p in FILES
             if any(m.split(".")[0] in ("ray", "optuna") for m in imports(p))}
    assert users == {"orchestrator/cluster.py", "orchestrator/sweep.py", "orchestrator/jobs.py",
                     "orchestrator/survey.py",
                     "orchestrator/search/optuna_search.py", "orchestrator/search/given.py"}


def test_nothing_is_pickled_or_evaluated():
    for path in FILES:
        names = {m.split(".")[0] for m in imports(path)}
        assert not names & {"pickle", "cloudpickle", "dill", "marshal", "shelve"}, path
        calls = {n.func.id for n in ast.walk(ast.parse(path.read_text()))
                 if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        assert not calls & {"eval", "exec", "compile", "__import__"}, path


def test_no_reader_may_unpickle():
    """Of NumPy and torch: allow_pickle is false where it is named, and torch.load is not used."""
    for path in FILES:
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            named = {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert named.get("allow_pickle", "False") == "False", f"{path}:{call.lineno}"
            assert named.get("weights_only", "True") == "True", f"{path}:{call.lineno}"
            function = ast.unparse(call.func)
            safe = function != "torch.load" or "weights_only" in named
            assert safe, f"{path}:{call.lineno}"
            if function.endswith("read_array"):  # its default is to refuse; here it is said
                assert "allow_pickle" in named, f"{path}:{call.lineno}"


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_import_torch(module):
    code = (f"import sys, {module}\n"
            "sys.exit(any(m in sys.modules for m in ('torch', 'ray', 'scipy')))")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_help_imports_nothing_heavy():
    """It answers in under 0.3 s because of that; a clock would tell of the machine's load."""
    code = ("import sys\nfrom orchestrator.cli import main\n"
            "main(['--help'], standalone_mode=False)\n"
            "print(sorted({'torch', 'ray', 'pandas', 'pyarrow', 'numpy', 'yaml', 'rich', 'scipy'}"
            " & sys.modules.keys()))")
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    assert said.stdout.decode().splitlines()[-1] == "[]"


def test_files_and_functions_stay_small():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 300, f"{path} has {text.count(chr(10))} lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                limit = 60 if isinstance(node, ast.FunctionDef) else 250
                assert length <= limit, f"{path}:{node.lineno} {node.name} has {length} lines"


def test_every_public_name_is_documented():
    for path in FILES:
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree) or not tree.body, f"{path} has no docstring"
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and (node.end_lineno or 0) - node.lineno > 3:
                assert ast.get_docstring(node), f"{path}:{node.lineno} {node.name}"


def test_tests_mirror_modules():
    for room in ROOMS:
        files = list((ROOT / room).rglob("*.py"))
        modules = {p.stem for p in files} | {p.parent.name for p in files}
        for test in (ROOT / "tests" / room).rglob("test_*.py"):
            assert test.stem.removeprefix("test_") in modules, test


def test_links_in_documents_lead_somewhere():
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
