"""gpu-mode tasks: a `task.yml`, its `reference.py` with `ref_kernel` and `generate_input`, candidates with `custom_kernel(data)`.

The task's tests are the small shapes, its benchmarks the full ones; the seeds in both are replaced by secret ones. Outputs are judged
against the reference in float64, at the precision that the task's own tolerance allows. Tasks are the user's: none is shipped.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from fitness.adapters.elsewhere import elsewhere
from fitness.adapters.kernelbench import renamed
from fitness.adapters.subject import Subject, SubjectError, default_dtype, identifier, run_text
from fitness.problem import ProblemError, Sizes

__all__ = ["GpuModeTask", "texts_of"]

ENTRY = "custom_kernel"
NEEDED = ("ref_kernel", "generate_input")
OWN = {"reference", "eval", "submission", "template"}
"""Files of a task that a candidate does not import."""
TOLERANCES = ((1e-2, "bfloat16"), (1e-3, "tf32"))
"""(relative tolerance of the task's own check from which on, precision that a candidate may compute in)."""


def texts_of(path: Path) -> dict[str, str]:
    """The texts of a task by file name, `task.yml` among them. Raises `ProblemError`."""
    import yaml

    file = path if path.name == "task.yml" else path / "task.yml"
    try:
        text = file.read_text(encoding="utf-8")
        listed = (yaml.safe_load(text) or {}).get("files") or []
        texts = {"task.yml": text}
        for entry in listed:
            source = str(entry.get("source", ""))
            if source.endswith(".py") and not source.startswith("@"):
                texts[str(entry["name"])] = (file.parent / source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        remedy = "Name the folder of a task of gpu-mode's reference-kernels."
        raise ProblemError(file, "gpumode", f"{type(error).__name__}: {error}", "a task.yml and the files it lists", remedy) from error
    return texts


class GpuModeTask(Subject):
    """One task, of its texts."""

    scheme = "gpumode"
    entry = ENTRY
    fills = True

    def __init__(self, path: Path, texts: Mapping[str, str], shapes: tuple[Sizes, ...] | None = None) -> None:
        """Raises `SubjectError` where the texts are no task that can be searched."""
        import yaml

        self.path, self.texts = path, dict(texts)
        task = yaml.safe_load(texts["task.yml"])
        if str(task.get("lang", "py")) != "py":
            raise SubjectError(f"its candidates are written in {task['lang']}; Python ones can be searched")
        if "reference.py" not in texts:
            raise SubjectError("it has no reference.py")
        self._tree = _parsed(texts["reference.py"])
        defined = {node.name for node in self._tree.body if isinstance(node, ast.FunctionDef)}
        missing = [name for name in NEEDED if name not in defined]
        if missing:
            raise SubjectError(f"its reference.py defines no {', '.join(missing)}")
        self.name = identifier(path)
        said = str(task.get("description", "")).strip()
        self.specification = f"{self.name}: {said}\n\nThe reference:\n\n```python\n{texts['reference.py'].strip()}\n```"
        self.version = hashlib.sha256("\0".join(f"{k}\0{v}" for k, v in sorted(texts.items())).encode()).hexdigest()[:20]
        defaults = _defaults(self._tree)
        tests, benchmarks = _sizes(task.get("tests"), defaults), _sizes(task.get("benchmarks"), defaults)
        if not tests and not benchmarks:
            raise SubjectError("its task.yml lists neither tests nor benchmarks")
        self.shapes = shapes or benchmarks or tests
        self.small_shapes = shapes or tests or benchmarks
        if len({frozenset(each) for each in (*self.shapes, *self.small_shapes)}) != 1:
            raise SubjectError("its tests and benchmarks do not all have the same arguments")
        self.sizes = tuple(self.shapes[0])

    @classmethod
    def read(cls, path: Path) -> GpuModeTask:
        """Raises `ProblemError`."""
        folder = (path.parent if path.name == "task.yml" else path).resolve()
        try:
            return cls(folder, texts_of(folder))
        except SubjectError as error:
            raise ProblemError(folder, "gpumode", str(error), "a Python task", "See gpu-mode's reference-kernels.") from error

    @property
    def compute_dtype(self) -> str | None:
        """What the task's own tolerance allows; None where it says nothing."""
        found = re.findall(r"rtol\s*=\s*([0-9.eE+-]+)", self.texts["reference.py"])
        with contextlib.suppress(ValueError):
            largest = max((float(each) for each in found), default=0.0)
            return next((precision for least, precision in TOLERANCES if largest >= least), None)
        return None

    @property
    def _lent(self) -> dict[str, str]:
        names = {name: Path(name).stem for name in self.texts if name.endswith(".py")}
        return {stem: self.texts[name] for name, stem in names.items() if stem not in OWN}

    @cached_property
    def _module(self) -> ModuleType:
        return run_text(self.texts["reference.py"], str(self.path / "reference.py"), modules=self._lent)

    def drawn(self, sizes: Sizes, seed: int, device: str) -> Any:
        import inspect

        import torch

        torch.manual_seed(seed)
        accepted = inspect.signature(self._module.generate_input).parameters
        arguments = {**sizes, **({"seed": seed % (1 << 31)} if "seed" in accepted else {})}
        with elsewhere(device):
            return self._module.generate_input(**arguments)

    def function(self, sizes: Sizes, seed: int, device: str, *, double: bool = False) -> Callable[[Any], Any]:
        import torch

        def call(data: Any) -> Any:
            with torch.no_grad(), elsewhere(device), default_dtype(torch.float64 if double else torch.float32):
                return self._module.ref_kernel(data)

        return call

    def seed_source(self) -> str:
        return renamed(self.texts["reference.py"], "ref_kernel", ENTRY, without=("generate_input", "check_implementation"))

    def setting(self, seed: int, baseline: bool = False) -> dict[str, Any]:
        entry = "ref_kernel" if baseline else ENTRY
        return {"style": "function", "entry": entry, "seed": seed, "init": None, "data": {}, "modules": self._lent}

    def baseline(self) -> tuple[Path, str]:
        return self.path / "reference.py", "ref_kernel"

    def scaled(self) -> Iterator[GpuModeTask]:
        every = list({str(sizes): sizes for sizes in (*self.shapes, *self.small_shapes)}.values())
        every.sort(key=lambda sizes: -math.prod(each for each in sizes.values() if type(each) is int and each > 0))
        for sizes in every:
            yield GpuModeTask(self.path, self.texts, (sizes,))
        for divisor in (2, 4, 8, 16, 32):
            for sizes in every[-3:]:
                smaller = {k: max(1, v // divisor) if type(v) is int and v > 16 else v for k, v in sizes.items()}
                yield GpuModeTask(self.path, self.texts, (smaller,))

    def scaling(self) -> str:
        if len(self.shapes) > 1 or self.shapes != self.small_shapes:
            return ""
        return "of its shapes: " + ", ".join(f"{name}={value}" for name, value in self.shapes[0].items())

    def notes(self) -> tuple[str, ...]:
        own = any(isinstance(node, ast.FunctionDef) and node.name == "check_implementation" for node in self._tree.body)
        text = "the task has a check of its own, which may allow more than one answer; here the answer is that of its reference"
        return (text,) if own else ()


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise SubjectError(f"its reference.py is not Python: {error}") from error


def _defaults(tree: ast.Module) -> dict[str, Any]:
    """Arguments of `generate_input` that need not be given, with their values."""
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "generate_input")
    names = [each.arg for each in function.args.args][len(function.args.args) - len(function.args.defaults) :]
    constants = zip(names, function.args.defaults, strict=True)
    return {name: value.value for name, value in constants if isinstance(value, ast.Constant) and name != "seed"}


def _sizes(entries: Any, defaults: Mapping[str, Any]) -> tuple[Sizes, ...]:
    """Arguments of `generate_input` but for the seed, in the order of the task."""
    made = [{**{str(key): value for key, value in dict(entry).items() if key != "seed"}} for entry in entries or []]
    made = [sizes | {key: value for key, value in defaults.items() if key not in sizes} for sizes in made]
    return tuple({str(sizes): sizes for sizes in made}.values())
