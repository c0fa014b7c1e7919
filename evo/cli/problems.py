"""`evo problems`, `evo lint`: what can be searched, and whether a problem's own checks would catch a cheat."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.foreign import lint_foreign
from evo.cli.output import emit_json, say, table

if TYPE_CHECKING:
    from fitness.lint import LintReport
    from fitness.problem import Problem

__all__ = ["check_problem", "register"]

UNSEEN = "sm_90"
"""Architecture that kernels are built for where there is no GPU."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("problems", rich_help_panel="Problems")(list_problems)
    app.command(rich_help_panel="Problems")(lint)


def list_problems(json: AsJson = False) -> None:
    """Problems known by name.

    Beside these: the path of a folder of your own, kernelbench:PATH (a KernelBench file) and gpumode:PATH (the folder of a task.yml).
    """
    from fitness.problem import SEEDS, Problem, shape_label

    found = [Problem.load(name) for name in Problem.names()]
    records = [
        {
            "name": problem.name,
            "what": problem.specification.strip().splitlines()[0] if problem.specification.strip() else "",
            "shapes": [shape_label(sizes) for sizes in problem.shapes],
            "targets": [target for target, (_, file) in SEEDS.items() if (problem.folder / file).is_file()],
            "folder": str(problem.folder),
        }
        for problem in found
    ]
    if json:
        emit_json(records)
        return
    rows = [
        (str(record["name"]), " ".join(record["targets"]), " ".join(record["shapes"]), str(record["what"])) for record in records
    ]
    table(("problem", "targets", "shapes", "what"), rows)


def lint(
    problem: Annotated[
        str, typer.Argument(help="A problem's name, the path of its folder, or kernelbench:PATH, gpumode:PATH: a file or a whole checkout.")
    ],
    json: AsJson = False,
) -> None:
    """Whether a problem's checks catch every known cheat.

    They must also pass its baseline and its plain seed. Exit code 2 when the problem is refused. Of a checkout of KernelBench or of
    gpu-mode's tasks it says for each file whether it can be searched, or why not.
    """
    from fitness.adapters import is_foreign

    if is_foreign(problem):
        lint_foreign(problem, json=json)
        return
    report, seeds, reasons = check_problem(problem)
    if json:
        checks, verdicts = [asdict(row) for row in report.rows], [asdict(seed) for seed in seeds]
        emit_json({"problem": report.problem, "ok": not reasons, "reasons": reasons, "checks": checks, "seeds": verdicts})
    else:
        say(report.table())
        for seed in seeds:
            say(f"seed for {seed.target}: {seed.message}")
        for reason in report.reasons:
            typer.echo(reason, err=True)
    if reasons:
        raise typer.Exit(2)


def check_problem(problem: str, *, seed: bool = True) -> tuple[LintReport, list[SeedVerdict], list[str]]:
    """The lint's report, the verdicts on the seeds (unless not `seed`), and why the problem is refused, if it is."""
    from fitness.problem import Problem

    loaded = Problem.load(problem)
    for_gpus = "numpy" not in loaded.baselines and "gpu" in loaded.baselines
    if for_gpus:
        from fitness.gpu.lint import lint as examine_for_gpus

        report = examine_for_gpus(loaded)
    else:
        from fitness.lint import lint as examine

        report = examine(loaded)
    verdict_on = interpreted_verdict if for_gpus and not _gpu() else seed_verdict
    seeds = [verdict_on(loaded, target) for target in seeded_targets(loaded)] if report.ok and seed else []
    return report, seeds, [*report.reasons, *(verdict.message for verdict in seeds if not verdict.ok)]


@dataclass(frozen=True, slots=True)
class SeedVerdict:
    """What the evaluator says of a problem's plain kernel for one target."""

    target: str
    ok: bool
    message: str


def seeded_targets(problem: Problem) -> list[str]:
    """Targets that this problem has a seed for and that kernels can be built for here."""
    from fitness.problem import SEEDS
    from fitness.targets import target_names

    return [target for target, (_, file) in SEEDS.items() if (problem.folder / file).is_file() and target in target_names()]


def _gpu() -> bool:
    from fitness.gpu.device import find_gpu

    return find_gpu() is not None


def interpreted_verdict(problem: Problem, target: str) -> SeedVerdict:
    """Builds the plain kernel for some GPU and verifies it in Triton's interpreter, where there is none to time it on."""
    from fitness.gpu.verifying import verify
    from fitness.protocol import EvaluationSettings

    if target != "triton":
        return SeedVerdict(target, True, "not looked at: there is no GPU here")
    verdict = verify(problem.seed_kernel(target), problem, EvaluationSettings(architecture=UNSEEN))
    said = "; ".join(finding.message for finding in verdict.diagnostics)
    return SeedVerdict(target, not said, said or f"right in {verdict.calls} interpreted calls, built for {UNSEEN}; not timed without a GPU")


def seed_verdict(problem: Problem, target: str) -> SeedVerdict:
    """Builds, verifies and times the plain kernel as a search would."""
    from fitness.opening import open_evaluator
    from fitness.protocol import EvaluationSettings

    evaluator = open_evaluator(str(problem.folder), target, EvaluationSettings())
    try:
        evaluation = evaluator.measure(evaluator.prepare(evaluator.seeds()[0]))
    finally:
        evaluator.close()
    if evaluation.speedup is not None:
        return SeedVerdict(target, True, f"right, {evaluation.speedup:.2f}× over the baseline")
    said = "; ".join(finding.message for finding in evaluation.diagnostics)
    return SeedVerdict(target, False, f"{evaluation.outcome.value}: {said}")
