"""What the documentation shows works: files it tells to write are written, marked examples are run.

`<!-- file: PATH -->` before a fenced block writes it; `<!-- run -->` runs it line by line in bash; `<!-- run slow -->` does
so among the slow tests. The blocks of a document share a folder, in order.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    document: str
    line: int
    mark: str
    language: str
    text: str


def blocks(document: str) -> Iterator[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        yield Block(document, text.count("\n", 0, found.start()) + 1, found["mark"] or "", found["language"], found["text"])


def marked(*marks: str) -> list[object]:
    slow = [pytest.mark.slow, pytest.mark.timeout(400)]
    return [
        pytest.param(block, id=f"{block.document}:{block.line}", marks=slow if "slow" in block.mark else [])
        for document in DOCUMENTS
        for block in blocks(document)
        if block.mark in marks
    ]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every file that the documents tell to write, and an `evo` on the path that is this one."""
    folder = tmp_path_factory.mktemp("docs")
    for document in DOCUMENTS:
        for block in blocks(document):
            if block.mark.startswith("file: "):
                path = folder / block.mark.removeprefix("file: ")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
    programs = folder / ".bin"
    programs.mkdir()
    # Nobody waits here to learn how the machine drifts.
    hasty = 'if [ "$1" = run ]; then set -- "$@" --set evaluation.certify_spacing=0 --set evaluation.certify_processes=3; fi\n'
    for name, before, command in (("evo", hasty, f"'{sys.executable}' -m evo"), ("python", "", f"'{sys.executable}'")):
        (programs / name).write_text(f'#!/bin/sh\n{before}exec {command} "$@"\n')
        (programs / name).chmod(0o755)
    return folder


def test_the_documents_hold_examples() -> None:
    assert len(marked("run")) >= 2 and len(marked("run slow")) >= 2


@pytest.mark.parametrize("block", marked("run", "run slow"))
def test_a_marked_example_runs(block: Block, workspace: Path) -> None:
    environment = {**os.environ, "PATH": f"{workspace / '.bin'}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}:{workspace / '.site'}"}
    environment["PIP_TARGET"] = str(workspace / ".site")  # what an example installs stays out of this environment
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=380, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_tunables_shown_are_valid() -> None:
    from archive.tunables import parse

    shown = [block for block in blocks("README.md") if block.language == "cpp" and "// evo:" in block.text]
    assert len(shown) >= 2
    for block in shown:
        assert parse(block.text, "cpp", f"README.md:{block.line}").tunables


def test_the_config_shown_is_valid(workspace: Path) -> None:
    from evo.config import load_config

    assert load_config(workspace / "rms_norm.yaml").problem == str(workspace / "rms_norm")


def test_the_problem_shown_is_valid_and_its_reference_agrees_with_its_baseline(workspace: Path) -> None:
    import numpy as np

    from fitness.problem import Problem

    problem = Problem.load(workspace / "rms_norm")
    x = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    y = np.empty_like(x)
    problem.baseline("numpy")(x, y)
    np.testing.assert_allclose(y, problem.reference(x.astype(np.float64))[0], rtol=1e-5)


def test_the_command_table_names_every_verb() -> None:
    from evo.cli.app import build

    verbs = {command.name or (command.callback and command.callback.__name__) for command in build().registered_commands}
    table = "".join(line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `"))
    assert verbs == set(re.findall(r"`evo (\w+)", table))


def test_the_changelog_knows_this_version() -> None:
    import evo

    assert f"## {evo.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text
