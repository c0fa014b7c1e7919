"""A tiny C++ problem that evaluates in a fraction of a second, and kernels for it that differ clearly: for tests of whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["BROKEN", "GOOD", "SLOW", "WRONG", "config", "kernel", "make_problem"]

PROBLEM = '''"""Twice x plus one, elementwise: y[i] = 2 x[i] + 1."""

sizes = ("n",)
inputs = {"x": {"dtype": "float32", "shape": ("n",), "role": "data"}}
outputs = {"y": {"dtype": "float32", "shape": ("n",)}}
shapes = [{"n": 40_000}]
small_shapes = [{"n": 33}, {"n": 1}]
held_out_shapes = [{"n": 30_000}]


def accumulation(n):
    return 1


def bytes_moved(n):
    return 8 * n


def flops(n):
    return 2 * n


def reference(x):
    return 2 * x + 1


def off_by_one(x):
    return 2 * x


mutants = {"off_by_one": off_by_one}
'''
BASELINE = """import numpy as np


def numpy(x, y):
    np.multiply(x, 2, out=y)
    np.add(y, 1, out=y)
"""


def kernel(expression: str, work: int = 1, tunable: str = "#define PARTS 1  // evo: {1, 2, 4}") -> str:
    """Computes `expression` of x[i], after dividing `work` times by a number that no compiler knows."""
    return (
        f"""#include <cstdint>
#include <cmath>
{tunable}

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n) {{
    for (int64_t i = 0; i < n; ++i) {{
        volatile float v = x[i];
        for (int k = 0; k < {work}; ++k) v = v / (1.0f + 0.0f * (float)k);
        y[i] = v * 2.0f + 1.0f;
    }}
}}
"""
        if work
        else f"""#include <cstdint>
{tunable}

extern "C" void kernel(const float* __restrict x, float* __restrict y, void* workspace, int64_t n) {{
    for (int64_t i = 0; i < n; ++i) {{
        y[i] = {expression};
    }}
}}
"""
    )


SEED = kernel("", work=4)
SLOW = kernel("", work=16)
GOOD = kernel("x[i] * 2.0f + 1.0f", work=0)
WRONG = kernel("x[i] * 2.0f", work=0)
BROKEN = GOOD.replace("n; ++i", "n; ++")


def make_problem(folder: Path) -> Path:
    """Writes the problem into `folder`/doubling; returns that."""
    path = folder / "doubling"
    path.mkdir(parents=True)
    for name, text in (("problem.py", PROBLEM), ("baseline.py", BASELINE), ("seed.cpp", SEED)):
        (path / name).write_text(text)
    return path


def config(problem: Path, **changes: Any) -> dict[str, Any]:
    """A config for it, as plain values."""
    axis = {"name": "vector", "field": "vector_bits", "kind": "categorical", "values": [0, 128, 256, 512]}
    basic: dict[str, Any] = {
        "name": "doubling",
        "problem": str(problem),
        "target": "cpp",
        "budget": {"evaluations": 8},
        "strategy": {"name": "map_elites", "initial": 0},
        "operators": {"llm_mutate": 1.0},
        "archive": {"descriptors": [axis]},
        "evaluation": {"repetitions": 4, "certify_processes": 1, "remeasure": 0.0, "core": None},
    }
    return {**basic, **changes}
