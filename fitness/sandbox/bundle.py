"""Carries modules of ours into a sandbox that has no view of the project: their sources travel in the command line.

The bundled modules import each other by their real names (`from fitness.sandbox import seccomp`) and nothing else of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

__all__ = ["GPU_REPLAY", "GPU_ZYGOTE", "LAUNCHER", "ZYGOTE", "interpreter", "python_command"]

_PACKAGE = Path(__file__).resolve().parent.parent

LAUNCHER = ("fitness.sandbox.syscalls", "fitness.sandbox.seccomp", "fitness.sandbox.enter")
ZYGOTE = ("fitness.sandbox.syscalls", "fitness.sandbox.seccomp", "fitness.fault", "fitness.pages", "fitness.runner", "fitness.zygote")
_GPU = ("wire", "driver", "gate", "sass", "plan", "compiling", "interpreter", "module", "launcher", "runner", "zygote")
GPU_ZYGOTE = tuple(f"fitness.gpu.{name}" for name in _GPU)
GPU_REPLAY = tuple(f"fitness.gpu.{name}" for name in ("wire", "driver", "gate", "launcher", "replay"))

_BOOTSTRAP = """
import sys, types
def _load(sources):
    for name in ("fitness", "fitness.sandbox", "fitness.gpu"):
        package = types.ModuleType(name)
        package.__path__ = []
        sys.modules[name] = package
    sys.modules["fitness"].sandbox = sys.modules["fitness.sandbox"]
    sys.modules["fitness"].gpu = sys.modules["fitness.gpu"]
    for name, source in sources:
        module = types.ModuleType(name)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        setattr(sys.modules[parent], child, module)
        exec(compile(source, "<" + name + ">", "exec"), module.__dict__)
    return sys.modules
"""


@lru_cache(maxsize=8)
def _script(modules: tuple[str, ...], call: str) -> str:
    sources = [(name, (_PACKAGE.parent / (name.replace(".", "/") + ".py")).read_text()) for name in modules]
    return f"{_BOOTSTRAP}\n_load({sources!r})[{modules[-1]!r}].{call}\n"


def interpreter() -> str:
    """The real executable behind a virtual environment: what the sandbox shows is its prefix alone."""
    return str(Path(getattr(sys, "_base_executable", "") or sys.executable).resolve())


def python_command(modules: Sequence[str], call: str) -> list[str]:
    """A command line that runs `call` in the last of the bundled modules under an isolated interpreter without site-packages."""
    return [interpreter(), "-I", "-S", "-E", "-B", "-c", _script(tuple(modules), call)]
