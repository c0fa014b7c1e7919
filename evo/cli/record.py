"""`evo record`: measure a tuning space once, so that searches can be compared on it without the hardware."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.output import emit_json, say
from evo.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from archive.space import Space
    from archive.values import Value
    from evo.record import Recorded
    from fitness.problem import Problem, Sizes
    from fitness.protocol import EvaluationSettings, Evaluator

__all__ = ["register"]

PERIOD = 5.0
"""Seconds between two lines of progress."""


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Compare strategies")(record)


def record(
    problem: Annotated[str, typer.Argument(help="A problem's name, or the path of its folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The recording: a .csv or .csv.gz; its provenance goes beside it as .json.")],
    target: Annotated[str, typer.Option(help="Toolchain and device.")] = "cpp",
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="NAME=V[;V...]", help="Hold a tunable to some of its values (all of the rest are swept); repeatable."
        ),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(metavar="N=4096[,M=...]", help="Time this shape instead of the problem's own; repeatable.")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=2, help="Record this many configurations, drawn at random, instead of all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample and of the order of measuring.")] = 0,
    repetitions: Annotated[int, typer.Option(min=2, help="Cap on timed pairs per shape.")] = 16,
    precision: Annotated[float, typer.Option(min=0.001, max=0.5, help="Relative width of the interval at which repetition stops.")] = 0.02,
    builders: Annotated[int | None, typer.Option(min=1, help="Kernels built at once; by default the cores not measured on.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="Stop after this time; the same command continues.")] = None,
    cut: Annotated[
        bool, typer.Option("--cut", help="Ended before its end (--seconds, Ctrl-C), write what is measured as a smaller random sample.")
    ] = False,
    build_only: Annotated[
        bool, typer.Option("--build-only", help="Only build, so that a later sitting measures without compiling.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Sweep a tuning space on real hardware into a file.

    Every configuration is verified and timed as in a search. The file is a problem for the target `tabular`, and for
    `evo compare`. What is interrupted or killed continues with the same command.
    """
    from evo.executors.apart import Apart
    from evo.interrupts import interrupts
    from evo.record import Plan, Recorder
    from fitness.gpu.device import clocks
    from fitness.problem import Problem, shape_label
    from fitness.protocol import EvaluationSettings
    from fitness.targets.registry import GPU

    begun = time.monotonic()
    check_name(out)
    loaded = Problem.load(problem)
    shapes = tuple(sizes_of(text, loaded) for text in shape or ()) or loaded.shapes
    settings = EvaluationSettings(repetitions=repetitions, precision=precision)
    evaluator = Apart(measured, (problem, target, settings, shapes), builders=builders)
    try:
        space = evaluator.space(evaluator.seeds()[0])
        plan = Plan(
            problem=loaded.name,
            target=target,
            problem_version=loaded.version,
            shapes=tuple(shape_label(sizes) for sizes in shapes),
            only=dict(part_of(text, space) for text in only or ()),
            sample=sample,
            seed=seed,
            repetitions=repetitions,
            precision=precision,
        )
        facts = clocks if target in GPU else dict[str, str]
        command = shlex.join(["evo", *sys.argv[1:]])
        recorder = Recorder(plan, evaluator, out, builders=evaluator.builders, facts=facts, command=command)
        if not json:
            said = "all" if sample is None else "a sample"
            say(f"{loaded.name} on {target}: {len(recorder.keys)} configurations ({said} of the part asked for; {space.size} in all)")
        left = None if seconds is None else max(0.0, begun + seconds - time.monotonic())
        with interrupts(recorder.stop):
            state = recorder.record(watching(json), seconds=left, build_only=build_only, cut=cut)
    finally:
        evaluator.close()
    report(state, out, build_only=build_only, json=json)


def check_name(out: Path) -> None:
    if not out.name.endswith((".csv", ".csv.gz")):
        raise UserError(
            "This is not a recording's name.", file=out, found=out.name, expected="NAME.csv or NAME.csv.gz", remedy="Rename it."
        )


def report(state: Recorded, out: Path, *, build_only: bool, json: bool) -> None:
    from dataclasses import asdict

    if json:
        emit_json({**asdict(state), "file": str(out)})
    elif state.finished:
        some = f"{state.done} of {state.total}" if state.done < state.total else f"{state.done}"
        say(f"{out}: {some} configurations, {state.failed} failed, best {state.best or 0:.2f}× over the baseline")
    else:
        out_of_reach = f", {state.left_out} could not be measured by no fault of theirs" if state.left_out else ""
        say(f"{state.done} of {state.total} {'built' if build_only else 'recorded'}{out_of_reach}; the same command continues")


def measured(problem: str, target: str, settings: EvaluationSettings, shapes: tuple[Sizes, ...]) -> Evaluator:
    """The evaluator of a problem that times these shapes; in whatever process."""
    from fitness.opening import open_loaded
    from fitness.problem import Problem

    return open_loaded(replace(Problem.load(problem), shapes=shapes), target, settings)


def watching(quiet: bool) -> Callable[[Recorded], None]:
    """Says how far it is, every few seconds."""
    begun = last = time.monotonic()
    first: int | None = None

    def observe(state: Recorded) -> None:
        nonlocal last, first
        first = state.done if first is None else first
        now = time.monotonic()
        if quiet or now < last + PERIOD:
            return
        last = now
        rate = (state.done - first) / (now - begun)
        left = f", {(state.total - state.done) / rate:.0f} s left" if rate else ""
        best = "" if state.best is None else f", best {state.best:.2f}×"
        say(f"{state.done}/{state.total}, {state.failed} failed{best}{left}")

    return observe


def sizes_of(text: str, problem: Problem) -> Sizes:
    """`rows=512,cols=1024` as sizes of the problem.

    Raises:
        UserError: names or numbers that the problem does not have.
    """
    expected = ",".join(f"{name}=N" for name in problem.sizes)
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name.strip() not in problem.sizes or not number.strip().isdecimal() or int(number) < 1:
            raise UserError("A shape cannot be read.", key="--shape", found=text, expected=expected)
        sizes[name.strip()] = int(number)
    if set(sizes) != set(problem.sizes):
        raise UserError("A shape lacks a size.", key="--shape", found=text, expected=expected)
    return {name: sizes[name] for name in problem.sizes}


def part_of(text: str, space: Space) -> tuple[str, tuple[Value, ...]]:
    """`VECTOR=128;256` as a tunable's name and values, spelled as the kernel spells them.

    Raises:
        UserError: an unknown name or value.
    """
    from archive.values import show

    name, _, listed = text.partition("=")
    if name not in space.names:
        raise UserError("There is no such tunable.", key="--only", found=name, expected=", ".join(space.names))
    domain = space.domains[space.names.index(name)]
    spellings = {spelling: value for value in domain for spelling in (show(value), str(value))}
    values = []
    for part in listed.split(";"):
        if part.strip() not in spellings:
            allowed = ";".join(str(value) for value in domain)
            raise UserError(f"The tunable `{name}` has no such value.", key="--only", found=part, expected=allowed)
        values.append(spellings[part.strip()])
    return name, tuple(values)
