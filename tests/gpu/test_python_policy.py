"""What a Triton file may contain."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitness.problem import Problem, default_roots
from fitness.targets.python_policy import check_python

HOSTILE = sorted((Path(__file__).parent.parent / "hostile" / "python").glob("*.py"))
SEEDS = sorted(path for root in default_roots() for path in root.glob("*/seed_triton.py"))

FRAME = """
import triton
import triton.language as tl

@triton.jit
def k(x, y, n, B: tl.constexpr):
    at = tl.program_id(0) * B + tl.arange(0, B)
    tl.store(y + at, tl.load(x + at, mask=at < n), mask=at < n)

def launch(x, y, workspace):
    {}
    k[(1,)](x, y, x.numel(), B=16)
"""


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.parent.name)
def test_every_shipped_seed_passes(path: Path) -> None:
    assert check_python(path.read_text()) is None


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.parent.name)
def test_every_shipped_seed_declares_tunables_within_its_own_space(path: Path) -> None:
    kernel = Problem.load(path.parent).seed_kernel("triton")
    assert kernel.space.legal(kernel.values)


def test_the_frame_itself_is_allowed() -> None:
    assert check_python(FRAME.format("pass")) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("import torch", "forbidden_import"),
        ("from torch import softmax", "forbidden_import"),
        ("import os", "forbidden_import"),
        ("y.copy_(x)", "library_call"),
        ("x.softmax(-1)", "library_call"),
        ("y[:] = x @ x", "library_call"),
        ("eval('1')", "forbidden_name"),
        ("getattr(x, 'sum')()", "forbidden_name"),
        ("x.__class__", "forbidden_attribute"),
        ("triton.runtime.driver", "forbidden_attribute"),
        ("triton.testing.do_bench(launch)", "forbidden_attribute"),
        ("__builtins__", "forbidden_name"),
        ("global x", "forbidden_statement"),
        ("open('/etc/passwd')", "forbidden_name"),
    ],
)
def test_host_code_may_only_launch(line: str, reason: str) -> None:
    finding = check_python(FRAME.format(line))
    assert finding is not None
    assert finding.reason == reason
    assert "line 11" in finding.message


def test_autotuning_is_refused_because_it_hides_cost_from_the_clock() -> None:
    source = FRAME.format("pass").replace("@triton.jit", "@triton.autotune(configs=[], key=[])\n@triton.jit")
    finding = check_python(source)
    assert finding is not None
    assert finding.reason == "autotune"


def test_a_file_without_launch_is_refused() -> None:
    finding = check_python("import triton\n")
    assert finding is not None
    assert finding.reason == "no_launch"


def test_a_syntax_error_names_its_line() -> None:
    finding = check_python("x = 1\ndef (:\n")
    assert finding is not None
    assert finding.reason == "syntax_error"
    assert finding.details["line"] == 2


@pytest.mark.parametrize("path", HOSTILE, ids=lambda path: path.stem)
def test_hostile_files_are_refused_by_the_policy_or_meant_to_get_past_it(path: Path) -> None:
    """The first line of each says which: `# policy: REASON`, or `# policy: none` for those that only the referee can catch."""
    source = path.read_text()
    expected = source.splitlines()[0].removeprefix("# policy: ")
    finding = check_python(source)
    assert (finding.reason if finding else "none") == expected
