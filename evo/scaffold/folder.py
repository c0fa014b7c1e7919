"""The files of a new problem: problem.py, baseline.py, seed.cpp, and a config that searches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evo.errors import UserError
from evo.scaffold.lowering import lower
from evo.scaffold.problem_text import problem_text
from evo.scaffold.signature import Guess, guess
from evo.scaffold.subject import Subject, read_subject
from evo.scaffold.tracing import Untraceable, trace

__all__ = ["Scaffold", "scaffold"]

KEYS = ("sizes", "inputs", "outputs", "shapes", "small_shapes", "held_out_shapes", "reference", "accumulation", "bytes_moved", "flops",
        "make_inputs", "compute_dtype", "gather", "deterministic", "mutants")  # fmt: skip
MINUTES = 1.0


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was made."""

    folder: Path
    config: Path
    derived: bool
    """Whether the seed is a kernel that computes the function; a skeleton otherwise."""
    why: str
    """Why it is a skeleton; empty when it is none."""
    guess: Guess
    notes: tuple[str, ...]


def scaffold(
    name: str, file: Path, folder: Path, *, function: str | None = None, shapes: Mapping[str, Sequence[str]] | None = None,
    dtypes: Mapping[str, str] | None = None, measure: Sequence[Mapping[str, int]] = (),
) -> Scaffold:  # fmt: skip
    """Writes the problem `name` for a function of `file` into `folder`, which must be new or empty.

    Args:
        function: which one, where the file has several.
        shapes: parameter → its dimensions, where the guess needs help.
        dtypes: parameter → its dtype.
        measure: sizes the search is to measure on; some that fill a few MiB by default.

    Raises:
        UserError: the function cannot be found, run or understood; the folder is in use or cannot be made.
    """
    subject = read_subject(file, function)
    if subject.name in KEYS:
        subject = _renamed(subject)
    guessed = guess(subject, shapes or {}, dtypes or {})
    for sizes in measure:
        if set(sizes) != set(guessed.sizes):
            raise UserError(
                "These are not the sizes of the problem.",
                file=file,
                key="--measure",
                found=", ".join(sizes),
                expected=", ".join(guessed.sizes),
            )
    graph, why = None, ""
    try:
        graph = trace(subject, guessed)
        seed = lower(graph, guessed, f"{name}: {_sentence(subject)}")
    except Untraceable as error:
        graph, why, seed = None, str(error), _skeleton(subject, guessed, name, str(error))
    notes = [*guessed.notes]
    if any(parameter.role == "index" for parameter in guessed.inputs):
        notes.append("index arguments are drawn from [0, rows): correct `below` in problem.py if they mean something else")
    texts = {
        "problem.py": problem_text(subject, guessed, graph, measure),
        "baseline.py": _baseline(subject, guessed),
        "seed.cpp": seed,
        f"{name}.yaml": _config(name),
    }
    _write(folder, texts)
    return Scaffold(folder, folder / f"{name}.yaml", not why, why, guessed, tuple(notes))


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5])
            raise UserError(
                "The problem's folder is not empty.", file=folder, found=found, expected="an empty or new folder", remedy="Use -o."
            )
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            "The problem's folder cannot be written.", file=folder, found=error.strerror, remedy="Choose another with -o."
        ) from error


def _renamed(subject: Subject) -> Subject:
    """The subject with its function under a name that is no key of a problem."""
    new = f"original_{subject.name}"
    import re

    return replace(subject, name=new, text=re.sub(rf"\b{subject.name}\b", new, subject.text))


def _sentence(subject: Subject) -> str:
    return subject.doc.splitlines()[0].strip() if subject.doc.strip() else f"the NumPy function {subject.name}"


def _baseline(subject: Subject, guessed: Guess) -> str:
    names = ", ".join(parameter.name for parameter in guessed.inputs)
    results = ", ".join(result.name for result in guessed.outputs)
    call = f"{subject.name}({names})"
    if subject.library == "torch":
        call = f"{subject.name}({', '.join(f'torch.from_numpy({p.name})' for p in guessed.inputs)})"
    if len(guessed.outputs) == 1:
        body = f"    {results}[...] = {call}\n"
    else:
        body = "    results = " + call + "\n" + "".join(f"    {r.name}[...] = results[{n}]\n" for n, r in enumerate(guessed.outputs))
    imports = "import torch\n\n" if subject.library == "torch" and "import torch" not in subject.text.splitlines() else ""
    return f'''"""What it is to be faster than: the function as it was, into the destination.

Improve it where that can be done without a compiler.
"""

{imports}{subject.text}

def numpy({names}, {results}):
{body}'''


def _skeleton(subject: Subject, guessed: Guess, name: str, why: str) -> str:
    pointers = [f"const {_c_type(parameter.dtype)}* {parameter.name}" for parameter in guessed.inputs]
    pointers += [f"{_c_type(result.dtype)}* {result.name}" for result in guessed.outputs]
    sizes = [f"int64_t {size}" for size in guessed.sizes]
    layout = "\n".join(f"//   {each.name}: {each.dtype}[{', '.join(each.dims)}], contiguous, row-major" for each in guessed.arguments)
    return f"""\
// {name}: {_sentence(subject)}
//
// A SKELETON, not yet a kernel: it could not be derived from the function, because {why}.
// Write the plain loops that compute what problem.py's docstring says, then run `evo lint` on this folder:
{layout}
// Inputs must not be written; every element of the outputs must be. Pointers are 256-byte aligned and do not overlap.
// Scratch memory: define  extern "C" size_t workspace({", ".join(sizes)})  that returns bytes, and use `workspace`.
// Declare what the search may change as tunables, on the line of the literal:
//   #define TILE 64  // evo: {{16, 32, 64, 128}}      #define UNROLL 1  // evo: 2**[0..3]

#include <cmath>
#include <cstddef>
#include <cstdint>

#define EVO_FLAGS "-O3"  // evo: {{"-O2", "-O3", "-O3 -fno-math-errno -fno-trapping-math", "-O3 -ffast-math"}}

extern "C" void kernel({", ".join([*pointers, "void* workspace", *sizes])}) {{
    // TODO: the loops.
}}
"""


def _c_type(dtype: str) -> str:
    return {"float32": "float", "float64": "double", "bool": "bool", "float16": "_Float16"}.get(dtype, f"{dtype}_t")


def _config(name: str) -> str:
    return f"""\
# evo run {name}/{name}.yaml
problem: ./
target: {{name: cpp, threads: 1}}
budget: {{minutes: {MINUTES:g}, stall: 150}}
evaluation: {{repetitions: 12}}
"""
