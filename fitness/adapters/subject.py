"""`Subject`: what a foreign problem offers, whatever format it is written in. And the trees that its data are."""

from __future__ import annotations

import contextlib
import random
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fitness.problem import Sizes

__all__ = ["Subject", "SubjectError", "default_dtype", "identifier", "run_text", "seeded"]


class SubjectError(Exception):
    """The file cannot be used as a problem. The message is a reason for its reader, without a traceback."""


class Subject(ABC):
    """A problem of others. Its code runs in this process when anything is asked of it but its texts."""

    scheme: str
    path: Path
    name: str
    specification: str
    version: str
    """Hash of the content."""
    entry: str
    """What a candidate has to define: `ModelNew` or `custom_kernel`."""
    fills: bool = False
    """Whether its data may hold room for the results (see `fitness.adapters.destinations`)."""
    sizes: tuple[str, ...]
    shapes: tuple[Sizes, ...]
    small_shapes: tuple[Sizes, ...]

    @abstractmethod
    def drawn(self, sizes: Sizes, seed: int, device: str) -> Any:
        """The data of one call, as the file draws them: a tree of lists, tuples and dicts over tensors and constants."""

    @abstractmethod
    def function(self, sizes: Sizes, seed: int, device: str, *, double: bool = False) -> Callable[[Any], Any]:
        """The reference as a function of such data; its parameters made under `seed` on `device`, then in float64 if `double`."""

    @abstractmethod
    def seed_source(self) -> str:
        """The file's own computation as a candidate: what a search starts from."""

    @abstractmethod
    def setting(self, seed: int, baseline: bool = False) -> dict[str, Any]:
        """What a runner needs to make a callable of a candidate (`fitness.gpu.module`), or of the file itself; JSON-able."""

    @abstractmethod
    def baseline(self) -> tuple[Path, str]:
        """(the file, the name in it) that a runner computes the reference with, at full speed."""

    @abstractmethod
    def scaled(self) -> Iterator[Subject]:
        """The same problem on ever smaller data, beginning with itself; some of them may not run."""

    @property
    def compute_dtype(self) -> str | None:
        """Lowest precision that the format lets a candidate compute in; None: that of its data."""
        return None

    def notes(self) -> tuple[str, ...]:
        """What its reader should know, a sentence each."""
        return ()

    def scaling(self) -> str:
        """How this one was scaled down, for its reader; empty where it was not."""
        return ""


def identifier(path: Path) -> str:
    """A name for the problem of a file or folder: `level1_23_Softmax`, for names that begin with a number take their folder's."""
    own = re.sub(r"\W+", "_", path.name.removesuffix(".py")).strip("_")
    if own and not own[0].isdigit():
        return own
    parent = re.sub(r"\W+", "_", path.parent.name).strip("_")
    return f"{parent}_{own}".strip("_") if parent and not parent[0].isdigit() else f"problem_{own}".strip("_")


def seeded(seed: int) -> None:
    """Seeds every generator that a file may draw from."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)


def run_text(text: str, name: str, tree: Any = None, modules: Mapping[str, str] | None = None) -> ModuleType:
    """Runs a file's text as a module that nothing can import. modules: texts of further files that it may import, by module name.

    Raises `SubjectError` for whatever it raises.
    """
    import sys

    given = dict(modules or {})
    before = {each: sys.modules.pop(each) for each in given if each in sys.modules}
    finder = _Texts(given)
    module = ModuleType(f"evo_foreign_{abs(hash((name, text))):x}")
    module.__file__ = name
    sys.modules[module.__name__] = module  # dataclasses and pickling look there
    sys.meta_path.insert(0, finder)
    try:
        exec(compile(tree if tree is not None else text, name, "exec"), module.__dict__)
    except ModuleNotFoundError as error:
        raise SubjectError(f"it needs {error.name}, which is not installed here") from error
    except Exception as error:
        raise SubjectError(f"it does not run: {type(error).__name__}: {error}") from error
    finally:
        sys.meta_path.remove(finder)
        for each in given:
            sys.modules.pop(each, None)
        sys.modules.update(before)
    return module


class _Texts:
    """Imports modules from texts."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        import importlib.util

        return importlib.util.spec_from_loader(name, self) if name in self._texts else None  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._texts[module.__name__], f"{module.__name__}.py", "exec"), module.__dict__)


@contextlib.contextmanager
def default_dtype(dtype: Any) -> Iterator[None]:
    """torch's default dtype for a while: what a reference makes on its way is then as precise as its inputs."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
