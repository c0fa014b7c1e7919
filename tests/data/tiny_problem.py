"""A problem whose kernels take microseconds to run, for tests that need the real evaluator and not much of it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["tiny_problem"]


def tiny_problem(folder: Path) -> Path:
    """Writes it into `folder`; returns its own."""
    home = folder / "tiny"
    home.mkdir()
    (home / "problem.py").write_text(
        '"""y = 2 x for every element of x."""\n\nsizes = ("n",)\ninputs = {"x": {"dtype": "float32", "shape": ("n",), "role": "data"}}\n'
        'outputs = {"y": {"dtype": "float32", "shape": ("n",)}}\nshapes = [{"n": 4096}]\nsmall_shapes = [{"n": 7}, {"n": 33}]\n'
        'held_out_shapes = [{"n": 5000}]\n\n\ndef accumulation(n):\n    return 1\n\n\ndef bytes_moved(n):\n    return 8 * n\n\n\n'
        'def flops(n):\n    return n\n\n\ndef reference(x):\n    return 2 * x\n\n\nmutants = {"three": lambda x: 3 * x}\n'
    )
    (home / "baseline.py").write_text("import numpy as np\n\n\ndef numpy(x, y):\n    np.multiply(x, 2, out=y)\n")
    (home / "seed.cpp").write_text(
        '#include <cstdint>\n#define EVO_FLAGS "-O2"  // evo: {"-O1", "-O2", "-O3"}\n#define LANES 1  // evo: {1, 2, 4, 8}\n'
        'extern "C" void kernel(const float* x, float* y, void*, int64_t n) {\n    int64_t i = 0;\n    for (; i + LANES <= n; i += LANES)\n'
        "        for (int lane = 0; lane < LANES; ++lane) y[i + lane] = 2 * x[i + lane];\n    for (; i < n; ++i) y[i] = 2 * x[i];\n}\n"
    )
    return home
