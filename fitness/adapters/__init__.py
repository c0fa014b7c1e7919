"""Problems of others, unchanged: KernelBench files and gpu-mode tasks, read as a `fitness.problem.Problem`.

A reference `kernelbench:PATH` or `gpumode:PATH` stands wherever a problem's name does. Searched problems run in the referee's process, as
a `problem.py` does: they are the user's choice. What merely goes through a checkout (`fitness.adapters.survey`) runs files in children.
Nothing here imports torch at module level.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from fitness.problem import Problem, ProblemError

if TYPE_CHECKING:
    from fitness.adapters.subject import Subject

__all__ = ["SCHEMES", "absolute", "is_foreign", "load", "opened", "split"]

SCHEMES = {
    "kernelbench": "a KernelBench file with Model, get_inputs and get_init_inputs",
    "gpumode": "a gpu-mode task: the folder of a task.yml, or that file",
}


def split(reference: str) -> tuple[str, Path] | None:
    """(scheme, path) of `kernelbench:PATH` or `gpumode:PATH`; None for everything else."""
    scheme, colon, path = reference.partition(":")
    return (scheme, Path(path).expanduser()) if colon and scheme in SCHEMES else None


def is_foreign(reference: object) -> bool:
    return isinstance(reference, str) and split(reference) is not None


def absolute(reference: str, beside: Path) -> str:
    """The reference with its path made absolute; a relative one is taken relative to the folder `beside`."""
    found = split(reference)
    return reference if found is None else f"{found[0]}:{(beside / found[1]).resolve()}"


def opened(reference: str) -> Subject:
    """The file or task that a reference names, read but not run. Raises `ProblemError`."""
    found = split(reference)
    assert found is not None
    scheme, path = found
    if importlib.util.find_spec("torch") is None:
        raise ProblemError(path, scheme, "no torch in this Python", "PyTorch, which these problems are written in",
                           "Install it: pip install 'evo-kernels[gpu]'.")  # fmt: skip
    if scheme == "kernelbench":
        from fitness.adapters.kernelbench import KernelBenchFile

        return KernelBenchFile.read(path)
    from fitness.adapters.gpumode import GpuModeTask

    return GpuModeTask.read(path)


def load(reference: str) -> Problem:
    """The problem that a reference names. Runs the file. Raises `ProblemError`."""
    from fitness.adapters.foreign import problem_of

    return problem_of(opened(reference))
