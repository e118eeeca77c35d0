"""Imports run one way, diffxas <- surrogates <- samplers <- experiments, and nothing unpickles."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = ["diffxas", "surrogates", "samplers", "experiments"]
FILES = sorted(p for name in ORDER for p in (ROOT / name).rglob("*.py"))
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of everything imported, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {arg.value.split(".")[0] for arg in node.args
                      if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return names


def against_the_order(tree: ast.AST, package: str) -> set[str]:
    """Packages imported that stand above ``package``."""
    return imported(tree) & set(ORDER[ORDER.index(package) + 1:])


def unpickling(tree: ast.AST) -> set[str]:
    """What could run code out of a data file."""
    found = imported(tree) & UNPICKLERS
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("torch.load", "torch.save", "load_pickle") or "read_pickle" in called:
                found.add(called)
            found |= {"allow_pickle" for k in node.keywords if k.arg == "allow_pickle"
                      and not (isinstance(k.value, ast.Constant) and k.value.value is False)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way_and_nothing_unpickles(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not against_the_order(tree, path.relative_to(ROOT).parts[0])
    assert not unpickling(tree)


def test_every_package_is_looked_at():
    assert {p.relative_to(ROOT).parts[0] for p in FILES} >= {"diffxas", "surrogates", "samplers"}


@pytest.mark.parametrize("package, code, seen", [
    ("diffxas", "import surrogates", {"surrogates"}),
    ("diffxas", "def f():\n    from samplers.sampling import x", {"samplers"}),
    ("surrogates", "from samplers import generate\nimport diffxas.graph", {"samplers"}),
    ("surrogates", "importlib.import_module('experiments.demo')", {"experiments"}),
    ("samplers", "import surrogates, diffxas", set()),
])
def test_the_check_of_the_order_sees(package, code, seen):
    assert against_the_order(ast.parse(code), package) == seen


@pytest.mark.parametrize("code", [
    "import pickle", "def f():\n    import torch\n    return torch.load(p)",
    "from joblib import load", "np.load(p, allow_pickle=True)", "pandas.read_pickle(p)",
])
def test_the_check_for_pickles_sees(code):
    assert unpickling(ast.parse(code))
    assert not unpickling(ast.parse("np.load(p)\nnp.load(p, allow_pickle=False)\njson.load(f)"))
