"""`evo prompt`, `ask`, `tell`, `costs`, `knowledge`, `distill`, `mcp`: models, and people in their place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.output import emit_json, facts, say, section, table

if TYPE_CHECKING:
    from evo.llm.costs import Line
    from evo.run import Run

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AnyRun = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a unique prefix of its name, or `last`.")]
Operator = Annotated[str, typer.Option("--operator", help="Whose prompt: llm_mutate, llm_crossover, llm_repair, llm_seed, llm_expose, …")]


def register(app: typer.Typer) -> None:
    for verb in (prompt, ask, tell, costs, knowledge, distill, mcp):
        app.command(rich_help_panel="Models")(verb)


def prompt(
    run: AnyRun,
    operator: Operator = "llm_universal",
    parents: Annotated[
        list[int] | None, typer.Option("--parent", help="A parent's number; repeatable. The strategy's choice by default.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Print exactly what would be sent to a model next."""
    from evo.cli.runs import find_run
    from evo.errors import UserError
    from evo.llm.asking import prompt_for
    from evo.llm.looking import Looking
    from evo.reading import open_run
    from evo.rundir import RunDir

    folder = find_run(run)
    _, config = RunDir.open(folder)
    with open_run(folder) as reader:
        looking = Looking(config, reader.lineage)
        number = looking.next_number()
        for parent in parents or ():
            try:
                looking.state.view.candidate(parent)
            except KeyError:
                raise UserError(
                    f"There is no candidate {parent} in this run.", file=folder, key="--parent", remedy="See `evo show`."
                ) from None
        chosen = tuple(parents) if parents else _failed(looking.state.view.failures, operator) or looking.move(number)
        letter = prompt_for(looking, operator, number, chosen)
    messages = [{"role": message.role, "content": message.text} for message in letter.prompt.conversation]
    if json:
        emit_json({"messages": messages, "tokens": letter.prompt.tokens, "dropped": letter.prompt.dropped, "parents": chosen})
        return
    for message in letter.prompt.conversation:
        say(f"[{message.role}]\n{message.text}\n")
    left_out = f"; left out to fit: {', '.join(letter.prompt.dropped)}" if letter.prompt.dropped else ""
    typer.echo(f"about {letter.prompt.tokens} tokens, parents {list(chosen)}{left_out}", err=True)


def _failed(failures: object, operator: str) -> tuple[int, ...]:
    """A repair is about the newest failure."""
    newest = list(failures)[-1:] if operator == "llm_repair" else []  # type: ignore[call-overload]
    return tuple(candidate.number for candidate in newest)


def ask(
    run: Annotated[
        str, typer.Argument(metavar="RUN|CONFIG", help="A run; or a config, of which a new run is made (its seed is evaluated).")
    ],
    count: Annotated[int, typer.Option("-n", min=1, help="How many proposals.")] = 1,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where their folders go.")] = Path("proposals"),
    operator: Operator = "llm_universal",
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="For a config: override a key.")] = None,
    json: AsJson = False,
) -> None:
    """Write proposals for a person or a coding agent to answer.

    Each is a folder with a PROMPT.md that says everything. Put the answer beside it and call `evo tell`.
    """
    found = _run_or_new(run, overrides or [])
    folders = found.ask(count, out, operator)
    if json:
        emit_json({"run": str(found.path), "proposals": [str(folder) for folder in folders]})
        return
    for folder in folders:
        say(str(folder / "PROMPT.md"))
    typer.echo(f"put each answer beside its prompt as answer.md, then: evo tell {found.path} {out}", err=True)


def _run_or_new(reference: str, overrides: list[str]) -> Run:
    from evo.cli.runs import find_run
    from evo.cli.searching import find_config
    from evo.config import load_config
    from evo.errors import UserError
    from evo.run import Run

    try:
        return Run.open(find_run(reference))
    except UserError as no_run:
        try:
            config = find_config(reference)
        except UserError:
            raise no_run from None
    made = Run.create(load_config(config, overrides), answers_only=True)
    typer.echo(f"evaluating the seed of {made.path} …", err=True)
    made.begin()
    return made


def tell(
    run: AnyRun,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `evo ask -o DIR` wrote, with answers; or one proposal's folder.")],
    by: Annotated[str, typer.Option("--by", help="Who answered, for the lineage.")] = "person",
    json: AsJson = False,
) -> None:
    """Evaluate answers to proposals and say what came of each.

    Can be called again and again, with old answers and new ones, in any order.
    """
    from evo.cli.runs import find_run
    from evo.llm.answering import answers_in
    from evo.run import Run

    found = answers_in(folder)
    results = Run.open(find_run(run)).tell(found, by) if found else []
    if json:
        emit_json([result.facts() for result in results])
        return
    if not results:
        say(f"no answers yet below {folder}: write answer.md beside a PROMPT.md")
    for result in results:
        section(result.folder)
        facts({name: str(value) for name, value in result.facts().items() if name != "proposal" and value not in (None, [], "")})


def costs(run: AnyRun, json: AsJson = False) -> None:
    """What models cost in a run, and what came of it.

    Dollars, tokens and seconds per operator, per model, and per improvement over a parent.
    """
    from dataclasses import asdict

    from evo.cli.runs import find_run
    from evo.llm.costs import costs_of
    from evo.reading import open_run

    with open_run(find_run(run)) as reader:
        found = costs_of(reader.lineage)
    if json:
        emit_json(asdict(found))
        return
    if not found.total.calls:
        say("No model was asked in this run.")
        return
    columns = (
        "",
        "calls",
        "failed",
        "tokens in",
        "tokens out",
        "dollars",
        "seconds",
        "kernels",
        "ok",
        "elites",
        "improved",
        "$/improved",
        "s/improved",
    )
    rows = [("total", *_cells(found.total))]
    for title, lines in (("operator", found.operators), ("model", found.models)):
        rows += [(f"{title} {name}", *_cells(line)) for name, line in sorted(lines.items(), key=lambda item: -item[1].dollars)]
    table(columns, rows, right=columns[1:])


def _cells(line: Line) -> tuple[str, ...]:
    dollars, seconds = line.dollars_per_improvement, line.seconds_per_improvement
    return (
        *(str(number) for number in (line.calls, line.failed, line.tokens_in, line.tokens_out)),
        f"{line.dollars:.4f}",
        f"{line.seconds:.1f}",
        *(str(number) for number in (line.kernels, line.ok, line.elites, line.improvements)),
        "–" if dollars is None else f"{dollars:.4f}",
        "–" if seconds is None else f"{seconds:.1f}",
    )


def knowledge(
    action: Annotated[str, typer.Argument(metavar="search", help="`search`.")],
    words: Annotated[list[str], typer.Argument(metavar="WORDS...", help="A bottleneck, a diagnostic, anything.")],
    target: Annotated[str | None, typer.Option("--target", help="Only notes for this target: cpp, triton, cuda, hip, cute.")] = None,
    limit: Annotated[int, typer.Option("-n", min=1, help="How many passages.")] = 3,
    folders: Annotated[list[Path] | None, typer.Option("--folder", help="A folder with notes of your own; repeatable.")] = None,
    json: AsJson = False,
) -> None:
    """Search the notes that prompts retrieve from: `evo knowledge search streaming stores`."""
    from dataclasses import asdict

    from evo.errors import UserError
    from operators.retrieve import Knowledge

    if action != "search":
        raise UserError(
            "Knowledge can be searched.", key="evo knowledge", found=action, expected="search", remedy="evo knowledge search WORDS"
        )
    found = Knowledge(folders or ()).search(" ".join(words), target=target, limit=limit)
    if json:
        emit_json([asdict(passage) for passage in found])
        return
    if not found:
        say("Nothing is known about this.")
    for passage in found:
        section(passage.title)
        say(passage.text)
        say(f"\n({Path(passage.file).name}, {', '.join(passage.targets) or 'any target'})")


def distill(
    run: AnyRun,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the notes; name it in llm.knowledge of later runs.")] = Path(
        "knowledge"
    ),
) -> None:
    """Write the lessons of a run as notes that later runs retrieve.

    Which edits gained, which failed and why, on which bottleneck.
    """
    from evo.cli.runs import find_run
    from evo.llm.distill import write_notes
    from evo.reading import open_run

    with open_run(find_run(run)) as reader:
        written = write_notes(reader.lineage, out)
    for path in written:
        say(str(path))
    if not written:
        say("Nothing was learned in this run: no edit gained, none failed.")
    else:
        typer.echo(f"later runs retrieve from it with --set llm.knowledge='[{out}]'", err=True)


def mcp(run: AnyRun) -> None:
    """Serve a run to coding agents: a Model Context Protocol server on standard input and output."""
    from evo.cli.runs import find_run
    from evo.llm.mcp import serve

    serve(find_run(run))
