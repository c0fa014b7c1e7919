"""`evo run`, `evo resume`, `evo certify`: the verbs that measure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.output import emit_json, is_terminal
from evo.errors import UserError

if TYPE_CHECKING:
    from evo.config import Config
    from evo.run import Run

__all__ = ["find_config", "register"]

INTERRUPTED = 130

AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON; progress goes to standard error.")]
NoPlot = Annotated[bool, typer.Option("--no-plot", help="Draw no picture at the end.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config, e.g. budget.minutes=2; repeatable.")
]
AnyRun = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a unique prefix of its name, or `last`.")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Search")(run)
    app.command(rich_help_panel="Search")(resume)
    app.command(rich_help_panel="Search")(certify)


def run(
    config: Annotated[str, typer.Argument(help="A config file, or the name of a shipped experiment (softmax, …).")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The run's folder; runs/NAME-TIME by default.")] = None,
    warm_from: Annotated[
        list[str] | None, typer.Option("--warm-from", metavar="RUN", help="Start from this run's elites, too, measured anew; repeatable.")
    ] = None,
    no_plot: NoPlot = False,
    json: AsJson = False,
    verify_only: Annotated[
        bool, typer.Option("--verify-only", help="Search nothing: build and verify the seed without a GPU (target triton), and say so.")
    ] = False,
) -> None:
    """Evolve a kernel as CONFIG says and certify the winner."""
    from evo.cli.runs import find_run
    from evo.config import load_config

    source = find_config(config)
    resolved = load_config(source, overrides or ())
    if verify_only:
        verify_seed(resolved, json=json)
        return
    from evo.run import Run
    from evo.warm import elites_of

    seeds = elites_of([find_run(each) for each in warm_from or ()], resolved.target.name)
    try:
        created = Run.create(resolved, out, seeds=seeds)
    except UserError as error:
        place(error, source, overrides or ())
        raise
    search(created, plot=not no_plot, json=json)


def place(error: UserError, source: Path, overrides: Sequence[str]) -> None:
    """Tells an error about a key, found after the config was read, where in the file that key stands (or that `--set` set it)."""
    if error.key is None or error.file is not None:
        return
    from evo.document import read_document

    document = read_document(source)
    for override in overrides:
        document.override(override)
    key = tuple(error.key.split("."))
    if document.overridden(key):
        error.found = f"{error.found} (from --set)"
    else:
        error.file, error.line = source, document.line(key)


def verify_seed(config: Config, *, json: bool) -> None:
    """Builds the plain Triton kernel for the config's architecture and verifies it in Triton's interpreter. Exit code 2 when it fails."""
    from evo.cli.output import say

    if config.target.name != "triton":
        expected, remedy = "triton", "Other targets verify what they measure: evo lint, evo run."
        what = "Only Triton kernels can be verified without a device."
        raise UserError(what, key="target", found=config.target.name, expected=expected, remedy=remedy)
    from fitness.adapters import is_foreign
    from fitness.gpu.verifying import verify
    from fitness.problem import Problem

    if is_foreign(config.problem):
        from evo.cli.foreign import verify_foreign

        verify_foreign(config.problem, config.settings(), json=json)
        return
    problem = Problem.load(config.problem)
    verdict = verify(problem.seed_kernel("triton"), problem, config.settings())
    findings = [finding.message for finding in verdict.diagnostics]
    if json:
        facts = {"problem": problem.name, "outcome": verdict.outcome.value, "calls": verdict.calls, "findings": findings}
        emit_json({**facts, "profile": verdict.profile})
    else:
        say(f"{problem.name}: {verdict.outcome.value}, {verdict.calls} interpreted calls right; not timed")
        for message in findings:
            typer.echo(message, err=True)
    if verdict.diagnostics:
        raise typer.Exit(2)


def resume(run: AnyRun, no_plot: NoPlot = False, json: AsJson = False) -> None:
    """Continue a run that was interrupted or killed.

    What was in flight is evaluated again; nothing else is.
    """
    from evo.cli.runs import find_run
    from evo.run import Run

    search(Run.open(find_run(run)), plot=not no_plot, json=json)


def search(run: Run, *, plot: bool, json: bool) -> None:
    """Runs it under a view and reports it. Exit code 130 when it was interrupted."""
    from evo.cli.reporting import print_summary
    from evo.live import watching

    with watching(terminal=is_terminal() and not json, stream=sys.stderr if json else sys.stdout) as observe:
        summary = run.search(observe, picture=plot)
    if json:
        emit_json(summary.facts())
    else:
        print_summary(summary)
    if summary.stopped_by == "interrupted":
        raise typer.Exit(INTERRUPTED)


def find_config(reference: str) -> Path:
    """The config file meant: a path, else the name of an experiment in `experiments/` here or in the installation.

    Raises:
        UserError: there is no such file; it names the experiments there are.
    """
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    homes = (Path("experiments"), Path(__file__).resolve().parents[2] / "experiments")
    name = path.name if path.suffix in (".yaml", ".yml") and len(path.parts) <= 2 else f"{reference}.yaml"
    if "/" not in reference or path.parts[0] == "experiments":
        for home in homes:
            if (home / name).is_file():
                return home / name
    known = sorted({file.stem for home in homes for file in home.glob("*.yaml")})
    raise UserError(
        "There is no such config.",
        file=path,
        found="no file of this name",
        expected=f"a YAML file, or one of the shipped experiments: {', '.join(known)}",
        remedy="Check the path; `evo config` lists the keys a config may have.",
    )


def certify(
    run: AnyRun,
    candidates: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Candidates by number or kernel id; the best by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Measure candidates afresh, on held-out shapes.

    In new processes, with new secret seeds, against every baseline; the certificates are kept in the run's database.
    Useful after a compiler upgrade or on another machine. Exit code 2 when a candidate fails.
    """
    from dataclasses import asdict

    from evo.cli.output import facts, section
    from evo.cli.reporting import certificate_facts, print_certificate_shapes
    from evo.cli.runs import find_run
    from evo.reading import open_run
    from evo.run import Run

    folder = find_run(run)
    with open_run(folder) as reader:
        numbers = [reader.number_of(reference) for reference in candidates or ["best"]]
    certificates = Run.open(folder).certify(numbers)
    if json:
        emit_json([{"candidate": number, **asdict(certificate)} for number, certificate in certificates.items()])
    else:
        for number, certificate in certificates.items():
            section(f"candidate {number}")
            facts(certificate_facts(certificate))
            if certificate.shapes:
                print_certificate_shapes(certificate)
    if not all(certificate.ok for certificate in certificates.values()):
        raise typer.Exit(2)
