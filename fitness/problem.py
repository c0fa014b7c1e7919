"""A problem: what is to be computed, on which shapes, and how precisely.

A problem is a folder with a `problem.py` (see `fitness.problem_file` for its keys), a `seed.*` per target and a
`baseline.py`. It is the user's own, trusted code; only kernels are hostile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fitness.argument import Argument

if TYPE_CHECKING:
    from archive.kernel import Kernel
    from fitness.adapters.foreign import Foreign

__all__ = ["COMPUTE_DTYPES", "SEEDS", "Argument", "Problem", "ProblemError", "Sizes", "default_roots", "shape_label"]

Sizes = Mapping[str, int]

COMPUTE_DTYPES = ("float64", "float32", "tf32", "float16", "bfloat16")
"""Precisions a problem may allow inside the kernel, finest first."""

SEEDS = MappingProxyType(
    {"cpp": ("cpp", "seed.cpp"), "cuda": ("cuda", "seed.cu"), "hip": ("hip", "seed.hip"), "triton": ("triton", "seed_triton.py")}
)
"""Target → (language, file name of the plain kernel)."""


class ProblemError(Exception):
    """A problem folder cannot be used. The message names file, line or key, what was found, what was expected and a remedy."""

    what = "The problem cannot be used."

    def __init__(self, file: Path | str, key: str, found: str, expected: str, remedy: str, line: int | None = None) -> None:
        self.file, self.key, self.found, self.expected, self.remedy, self.line = str(file), key, found, expected, remedy, line
        where = (str(file) if line is None else f"{file}:{line}") + (f": `{key}`" if key else "")
        super().__init__(f"{where}: found {found}; expected {expected}. {remedy}")


def shape_label(sizes: Sizes) -> str:
    """`rows=4096,cols=1024`: how a shape is written everywhere."""
    return ",".join(f"{name}={extent}" for name, extent in sizes.items())


def default_roots() -> tuple[Path, ...]:
    """Where problems are looked for by name: the working folder first, then what was installed with the package."""
    here = Path.cwd() / "experiments" / "problems"
    installed = Path(__file__).resolve().parent.parent / "experiments" / "problems"
    return (here,) if here.resolve() == installed else (here, installed)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is to be computed. Equal versions mean equal content."""

    name: str
    folder: Path
    specification: str
    """The docstring of problem.py: the task in words, for people and models."""
    sizes: tuple[str, ...]
    """Names of the trailing int64_t parameters, in ABI order."""
    inputs: tuple[Argument, ...]
    outputs: tuple[Argument, ...]
    shapes: tuple[Sizes, ...]
    """Shapes a search measures on."""
    small_shapes: tuple[Sizes, ...]
    """Awkward little shapes, for cheap verification."""
    held_out_shapes: tuple[Sizes, ...]
    """Shapes only a certification sees."""
    version: str
    """Hash over problem.py and baseline.py (20 hex digits)."""
    compute_dtype: str = "float32"
    """Lowest precision a kernel may compute in; one of COMPUTE_DTYPES."""
    gather: tuple[str, str] | None = None
    """(table, index): its time goes into picking rows of the input `table` by the integers in the input `index`. The memory side of
    its roofline is then such picking, not a copy. None: inputs are read once, in order."""
    deterministic: bool = False
    """Whether repeating a call must give the same bits."""
    mutants: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """Wrong variants of the reference, on arrays of the inputs' own dtypes; the checks must catch each."""
    baselines: Mapping[str, Path] = field(default_factory=dict)
    """Name of a function (`numpy`, `torch`, …: the package it needs) → the file that defines it. It takes inputs, then outputs."""
    hooks: Mapping[str, Callable[..., Any]] = field(default_factory=dict, repr=False)
    """The functions of problem.py: reference, accumulation, bytes_moved, flops, make_inputs."""
    foreign: Foreign | None = field(default=None, repr=False)
    """Where the problem is a file of others: what draws its data and says how candidates are called."""

    @classmethod
    def load(cls, path_or_name: str | Path, roots: Sequence[Path] | None = None) -> Problem:
        """Reads a problem by folder, by its problem.py, by name in `roots`, or as `kernelbench:PATH`, `gpumode:PATH`.

        Raises ProblemError.
        """
        from fitness import adapters
        from fitness.problem_file import read

        if adapters.is_foreign(path_or_name):
            return adapters.load(str(path_or_name))

        return read(cls.find(path_or_name, roots))

    @staticmethod
    def find(path_or_name: str | Path, roots: Sequence[Path] | None = None) -> Path:
        """The folder of a problem. Raises ProblemError."""
        text = str(path_or_name)
        path = Path(text).expanduser()
        if path.name == "problem.py":
            path = path.parent
        searched = default_roots() if roots is None else tuple(roots)
        by_name = text == Path(text).name and text not in ("problem.py", ".", "..", "")
        candidates = [root / text for root in searched] if by_name else []
        candidates.append(path)
        for folder in candidates:
            if (folder / "problem.py").is_file():
                return folder.resolve()
        known = ", ".join(Problem.names(searched)) or "none"
        looked = ", ".join(str(folder) for folder in candidates)
        raise ProblemError(
            looked,
            "problem",
            f"no problem.py for {text!r}",
            f"a folder with a problem.py, or one of the known problems: {known}",
            "Name one of these, or give the path of your problem's folder.",
        )

    @staticmethod
    def names(roots: Iterable[Path] | None = None) -> tuple[str, ...]:
        """Names of the problems in `roots`, sorted; a name found twice is listed once."""
        found = {
            file.parent.name
            for root in (default_roots() if roots is None else roots)
            if root.is_dir()
            for file in root.glob("*/problem.py")
        }
        return tuple(sorted(found))

    def reference(self, *arrays: Any) -> tuple[Any, ...]:
        """The outputs for these inputs, in their precision: float64 NumPy arrays, or a torch device's tensors."""
        result = self.hooks["reference"](*arrays)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def accumulation(self, sizes: Sizes) -> int:
        """Terms of the longest sum that a kernel has to form; 1 where nothing is summed."""
        return self._count("accumulation", sizes, least=1)

    def bytes_moved(self, sizes: Sizes) -> int:
        """Bytes that have to cross the memory bus at least: each input read once, each output written once."""
        return self._count("bytes_moved", sizes, least=1)

    def flops(self, sizes: Sizes) -> int:
        """Floating-point operations the computation needs."""
        return self._count("flops", sizes, least=0)

    def footprint(self, sizes: Sizes) -> int:
        """Bytes of all inputs and outputs."""
        return sum(argument.nbytes(sizes) for argument in (*self.inputs, *self.outputs))

    def make_inputs(self) -> Callable[..., Any] | None:
        """The problem's own `make_inputs(rng, sizes)`, None where the default draws all inputs by role."""
        return self.hooks.get("make_inputs")

    def baseline(self, name: str) -> Callable[..., Any]:
        """A baseline as a function of inputs, then outputs, loaded into this process. Raises ProblemError."""
        if name not in self.baselines:
            known = ", ".join(self.baselines) or "none"
            raise ProblemError(
                self.folder / "baseline.py", name, f"baselines {known}", f"a function `{name}`", "Define it, or choose another."
            )
        from fitness.problem_file import execute

        function: Callable[..., Any] = getattr(execute(self.baselines[name]), name)
        return function

    def seed_kernel(self, target: str) -> Kernel:
        """The plain kernel a search on this target starts from. Raises ProblemError."""
        from archive.kernel import Kernel

        if self.foreign is not None:
            if target != "triton":
                expected = "triton, whose candidates are Python files"
                raise ProblemError(self.folder, "target", target, expected, "Use target triton.")
            return Kernel("triton", self.foreign.subject.seed_source(), file=str(self.foreign.subject.path))
        if target not in SEEDS:
            raise ProblemError(self.folder, "seed", f"target {target!r}", f"one of {', '.join(SEEDS)}", "Choose a target that has seeds.")
        language, file = SEEDS[target]
        path = self.folder / file
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProblemError(
                path, "seed", str(error), f"a plain {language} kernel as UTF-8 text", f"Write {path.name} beside problem.py."
            ) from error
        return Kernel(language, source, file=str(path))

    def _count(self, hook: str, sizes: Sizes, least: int) -> int:
        try:
            value = self.hooks[hook](**sizes)
        except Exception as error:
            raise ProblemError(
                self.folder / "problem.py",
                hook,
                f"{type(error).__name__}: {error} for {shape_label(sizes)}",
                f"a function of {', '.join(self.sizes)}",
                "Correct the function.",
            ) from error
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ProblemError(
                self.folder / "problem.py", hook, f"{value!r} for {shape_label(sizes)}", f"an int >= {least}", "Return a whole number."
            )
        return value
