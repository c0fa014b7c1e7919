"""`import evo` is light, complete and honest about what it offers."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import evo

HEAVY = ("pandas", "matplotlib", "litellm", "torch", "triton", "scipy", "deap", "sqlite_utils", "optuna", "pydantic", "numpy")


def loaded_by(code: str) -> set[str]:
    """Top-level modules in `sys.modules` after running `code` in a fresh interpreter."""
    script = f"import sys\n{code}\nprint('\\n'.join(sorted({{m.split('.')[0] for m in sys.modules}})), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stderr.splitlines())


def test_importing_evo_loads_nothing_heavy() -> None:
    assert not loaded_by("import evo") & set(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    code = "from evo.cli import main\nassert main(['--help']) == 0"
    assert not loaded_by(code) & set(HEAVY)


def test_help_of_every_verb_loads_nothing_heavy() -> None:
    verbs = ("run", "resume", "certify", "ls", "status", "best", "show", "plot", "problems", "lint", "doctor", "config", "version")
    code = "from evo.cli import main\n" + "\n".join(f"assert main(['{verb}', '--help']) == 0" for verb in verbs)
    assert not loaded_by(code) & (set(HEAVY) - {"pydantic"})  # typer itself looks at pydantic for path parameters


@pytest.mark.parametrize("name", evo.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(evo, name) is not None
    assert name in dir(evo)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Kernl'.*Kernel"):
        evo.Kernl  # noqa: B018


def test_type_checkers_see_the_names_that_exist_at_run_time() -> None:
    tree = ast.parse(Path(evo.__file__).read_text(encoding="utf-8"))
    declared = {
        (node.module, alias.asname)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert declared == {(module, name) for name, module in evo._HOME_OF.items()}


def test_the_version_is_the_packages_own(repository: Path) -> None:
    import configparser

    settings = configparser.ConfigParser()
    settings.read(repository / "setup.cfg")
    assert evo.__version__ == settings["metadata"]["version"]
