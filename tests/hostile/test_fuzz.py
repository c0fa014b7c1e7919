"""Random edits of honest kernels: whatever comes out, `ok` is never said of a wrong result.

What the evaluator calls `ok` is run once more, in a process of its own, without any part of the evaluator: on inputs of the test's own
and against float64 arithmetic of the test's own.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.measuring import MeasuringEvaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings, Prepared
from fitness.targets import open_target
from fitness.targets.base import Artifact

TINY = Path(__file__).resolve().parent.parent / "data" / "problems" / "tiny_norm"
SETTINGS = EvaluationSettings(repetitions=3, call_timeout=0.5, build_timeout=10.0, memory=256 << 20)
SECONDS = 40.0
"""After which no further mutant is tried."""

BLOCKED = '''// The same in blocks of eight, with a tail.
#include <cmath>
#include <cstdint>

#define BLOCK 8

extern "C" void kernel(const float* x, float* y, int32_t* positive, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        float sums[BLOCK] = {};
        int32_t count = 0;
        int64_t c = 0;
        for (; c + BLOCK <= cols; c += BLOCK)
            for (int k = 0; k < BLOCK; ++k) {
                sums[k] += x[r * cols + c + k] * x[r * cols + c + k];
                count += x[r * cols + c + k] > 0.0f;
            }
        float sum = 0.0f;
        for (int k = 0; k < BLOCK; ++k) sum += sums[k];
        for (; c < cols; ++c) {
            sum += x[r * cols + c] * x[r * cols + c];
            count += x[r * cols + c] > 0.0f;
        }
        const float scale = 1.0f / std::sqrt(sum / static_cast<float>(cols) + 1e-6f);
        for (c = 0; c < cols; ++c) y[r * cols + c] = x[r * cols + c] * scale;
        positive[r] = count;
    }
}
'''
KERNELS = (re.sub(r"#define EVO_FLAGS.*", "", (TINY / "seed.cpp").read_text()), BLOCKED)

REFEREE = """
import ctypes, sys
import numpy as np
kernel = ctypes.CDLL(sys.argv[1]).kernel
kernel.argtypes = [ctypes.c_void_p] * 4 + [ctypes.c_int64] * 2
kernel.restype = None
rng = np.random.default_rng()
for call in range(60):
    rows, cols = [(64, 128), (16, 509), (3, 33), (1, 130), (9, 1), (5, 16)][call % 6]
    scale = [1.0, 0.01, 100.0][call // 6 % 3]
    x = np.ascontiguousarray(rng.standard_normal((rows, cols)) * scale, dtype=np.float32)
    if call % 5 == 4:
        x = np.rint(x * 4 / scale).astype(np.float32)
    held = np.full(rows * cols + 4096, np.nan, np.float32)
    held[1024 : 1024 + x.size] = x.ravel()
    y, positive = np.full((rows, cols), np.nan, np.float32), np.full(rows, -1, np.int32)
    kernel(held[1024:].ctypes.data, y.ctypes.data, positive.ctypes.data, None, rows, cols)
    exact = x.astype(np.float64)
    expected = exact / np.sqrt((exact**2).mean(axis=-1, keepdims=True) + 1e-6)
    size = np.abs(expected) + 0.5 * np.sqrt((expected**2).mean(axis=-1, keepdims=True)) + 1e-30
    error = np.abs(y - expected) / size
    if not (error < 1e-4).all():
        sys.exit(f"call {call}, {rows} x {cols}, scale {scale}: error {np.nanmax(error)}, {np.isnan(error).sum()} not finite")
    if not np.array_equal(positive, (x > 0).sum(axis=-1)):
        sys.exit(f"call {call}, {rows} x {cols}, scale {scale}: counts {positive} for {(x > 0).sum(axis=-1)}")
"""

TOKEN = re.compile(
    r"(?<=\s)(?:[<>=!]=|[-+*]=|[-+*/<>])(?=\s)|\+\+|--"  # operators between blanks: no templates, no pointers
    r"|(?<!int64_t )(?<!int32_t )(?<!float )\b[A-Za-z_]\w*|\b\d+\.?\d*(?:e[+-]?\d+)?f?"  # names but where they are declared
)
OPERATORS = (("+", "-", "*", "/"), ("<", "<=", ">", ">=", "==", "!="), ("+=", "-=", "*="), ("++", "--"))
NAMES = (("rows", "cols", "r", "c"), ("sum", "scale"))
"""Variables that can stand for each other."""
LITERALS = (("0", "1", "2", "7", "8", "9", "-1", "16"), ("0.0f", "1.0f", "2.0f", "0.5f", "1e-6f", "1e-5f", "1e-7f"))
POOLS = (*NAMES, *OPERATORS, *LITERALS)


def _pool(word: str) -> tuple[str, ...]:
    """What could stand in a token's place, itself left out."""
    return tuple(other for pool in POOLS if word in pool for other in pool if other != word)


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """An honest kernel with one to three tokens replaced, or a line deleted, doubled or exchanged with the next."""
    source = draw(st.sampled_from(KERNELS))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        kind = draw(st.integers(0, 4))
        if kind == 0:
            lines = source.splitlines()
            inside = range(source[: source.index("extern")].count("\n") + 1, len(lines) - 2)
            at = draw(st.sampled_from([number for number in inside if lines[number].endswith(";")]))
            change = draw(st.sampled_from(("delete", "double", "exchange")))
            if change == "delete":
                del lines[at]
            elif change == "double":
                lines.insert(at, lines[at])
            else:
                lines[at], lines[at + 1] = lines[at + 1], lines[at]
            source = "\n".join(lines) + "\n"
            continue
        tokens = [match for match in TOKEN.finditer(source, source.index("{", source.index("extern"))) if _pool(match.group())]
        blocks = [match for match in TOKEN.finditer(source) if match.group() == "8"]
        tokens = blocks if kind == 1 and blocks else tokens
        token = draw(st.sampled_from(tokens))
        source = source[: token.start()] + draw(st.sampled_from(_pool(token.group()))) + source[token.end() :]
    return source


@pytest.fixture(scope="module")
def evaluator() -> Iterator[MeasuringEvaluator]:
    made = MeasuringEvaluator(Problem.load(TINY), open_target("cpp", SETTINGS), SETTINGS)
    yield made
    made.close()


def independently(prepared: Prepared) -> str:
    """What is wrong with a built kernel, found out without the evaluator; empty when nothing is."""
    assert isinstance(prepared.handle, Artifact)
    argv = [sys.executable, "-c", REFEREE, str(prepared.handle.path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return "" if done.returncode == 0 else done.stderr or f"exit status {done.returncode}"


@pytest.mark.parametrize("source", KERNELS, ids=["plain", "blocked"])
def test_evaluator_and_independent_check_agree_about_a_right_and_a_wrong_kernel(evaluator: MeasuringEvaluator, source: str) -> None:
    right = evaluator.prepare(Kernel("cpp", source))
    assert evaluator.measure(right).ok and independently(right) == ""
    wrong = evaluator.prepare(Kernel("cpp", source.replace("static_cast<float>(cols)", "static_cast<float>(cols + 1)")))
    assert evaluator.measure(wrong).outcome is Outcome.WRONG and "error" in independently(wrong)


def test_no_mutant_that_gives_wrong_results_is_called_right(evaluator: MeasuringEvaluator) -> None:
    deadline = time.monotonic() + SECONDS
    verdicts: Counter[str] = Counter()

    @settings(max_examples=400, database=None, suppress_health_check=list(HealthCheck))
    @given(mutants())
    def attack(source: str) -> None:
        if time.monotonic() > deadline:
            return
        prepared = evaluator.prepare(Kernel("cpp", source))
        evaluation = evaluator.measure(prepared)
        verdicts[evaluation.outcome.value] += 1
        assert evaluation.outcome is not Outcome.INFRASTRUCTURE_ERROR, evaluation.diagnostics
        if not evaluation.ok:
            assert evaluation.objective is None and evaluation.diagnostics
            return
        wrong = independently(prepared)
        assert not wrong, f"called ok, and is wrong: {wrong}\n{source}"

    attack()
    print(dict(verdicts))
    assert sum(verdicts.values()) >= 10 and len(verdicts) >= 3, dict(verdicts)
