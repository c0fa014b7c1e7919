"""The studio of a run: what its model operators work with, made from config, problem and lineage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from archive import rows
from archive.candidate import Candidate
from archive.kernel import Kernel
from archive.lineage import Lineage
from archive.reading import Reading
from evo.config import Config
from evo.errors import UserError
from evo.llm.section import LlmSection
from operators.base import View, operator_class
from operators.brief import Brief
from operators.llm.studio import Manner, Studio, gain_of
from operators.models.call import ModelFailure, Reply
from operators.models.cassette import Cassette
from operators.models.desk import Desk, Patience, Record
from operators.models.ledger import Ledger
from operators.models.secrets import scrub
from operators.models.spec import ModelSpec, from_environment
from operators.population import Variant
from operators.prompt import Library
from operators.retrieve import Knowledge

__all__ = ["learner", "needs_models", "open_studio", "specs", "store_call", "writing_studio"]


def needs_models(config: Config) -> bool:
    """Whether any operator of the run asks a model."""
    return any(operator_class(name).costs_money and weight > 0 for name, weight in (config.operators or {}).items())


def specs(section: LlmSection) -> tuple[ModelSpec, ...]:
    """The models of a config and the environment.

    Raises:
        UserError: there is none; it says how to give one.
    """
    if section.models:
        return tuple(ModelSpec(**model.model_dump()) for model in section.models)
    name, base_url = from_environment(section.model, section.base_url)
    if name is None:
        raise UserError(
            "This experiment asks a language model, and none is given.",
            key="llm.model",
            found=f"no llm.model in the config, no EVO_MODEL in the environment{', though there is an endpoint' if base_url else ''}",
            expected="PROVIDER/MODEL, as litellm names it",
            remedy=(
                "A provider: export OPENAI_API_KEY=… and add --set llm.model=openai/MODEL (or anthropic/MODEL). An endpoint of your own: "
                "--set llm.model=openai/NAME --set llm.base_url=http://127.0.0.1:8000/v1 --set llm.unknown_price=free. "
                "EVO_MODEL, EVO_BASE_URL and EVO_API_KEY do the same. Without any model: evo ask CONFIG -o DIR, and answer yourself."
            ),
        )  # fmt: skip
    if base_url and "/" not in name:
        name = f"openai/{name}"
    one = {key: getattr(section, key) for key in ("key", "concurrency", "max_tokens", "dollars_in", "dollars_out")}
    return (ModelSpec(name=name, base_url=base_url, **one),)


def open_studio(config: Config, lineage: Lineage, facts: Mapping[str, Any], seed: Kernel) -> Studio:
    """The studio of a run that asks models itself.

    Args:
        facts: of the environment it measures in.
        seed: a kernel of the run, for its language.

    Raises:
        UserError, OperatorError, ModelError: models, templates or notes cannot be used as configured.
    """
    studio = writing_studio(config, facts, seed, lineage)
    section = config.llm
    spent = lineage.select("SELECT coalesce(sum(dollars), 0.0) AS dollars FROM model_calls WHERE run = ?", (lineage.run,))
    cassette = None
    if section.mode != "live" and section.cassette is not None:
        if section.mode == "record" and not spent[0]["dollars"] and not lineage.select("SELECT 1 FROM model_calls LIMIT 1"):
            section.cassette.unlink(missing_ok=True)
        cassette = Cassette(section.cassette, replay=section.mode == "replay")
    studio.desk = Desk(
        specs(section),
        choose=section.choose,
        patience=Patience(section.retries, section.timeout, section.deadline),
        ledger=Ledger(config.budget.dollars, float(spent[0]["dollars"])),
        unknown_is_free=section.unknown_price == "free",
        cassette=cassette,
        journal=lambda record: store_call(lineage, record),
        stored=_unused(lineage),
    )
    studio.keep = lambda text: lineage.prompt(text)
    return studio


def writing_studio(config: Config, facts: Mapping[str, Any], seed: Kernel, lineage: Reading) -> Studio:
    """A studio that writes prompts and asks nobody."""
    section = config.llm
    studio = Studio(
        brief=_brief(config, facts, seed),
        library=Library(section.prompts, tokens=section.prompt_tokens),
        knowledge=Knowledge(section.knowledge),
        manner=Manner(section.edits, section.directed, section.inspirations, section.attempts, section.passages, section.evolve),
        ports=tuple(_text(path) for path in section.ports),
    )
    for row in lineage.select("SELECT text FROM prompts WHERE text LIKE '---' || char(10) || 'variant: %' ORDER BY rowid"):
        variant = Variant.load(row["text"])
        if variant is not None:
            studio.population.add(variant)
    return studio


def learner(studio: Studio, view: View) -> Callable[[Candidate], None]:
    """Tells the studio of finished candidates: live and in replay alike."""

    def learn(candidate: Candidate) -> None:
        parents = tuple(view.candidate(number) for number in candidate.proposal.parents)
        best = view.archive.best
        studio.learn(candidate, gain_of(candidate, parents, None if best is None else best.objective))

    return learn


def store_call(lineage: Lineage, record: Record) -> None:
    """One call into the lineage, committed before this returns. No key reaches it."""
    text = "\n\n".join(f"[{message.role}]\n{message.text}" for message in record.conversation)
    prompt = lineage.prompt(scrub(text))
    outcome = record.outcome
    facts: dict[str, object] = {"purpose": record.purpose, "requests": outcome.requests}
    if record.cached:
        facts["cached"] = True
    if isinstance(outcome, ModelFailure):
        facts |= {"error": outcome.reason, "message": scrub(str(outcome))}
        lineage.model_call(record.asker, record.model, prompt, "", dollars=outcome.dollars, facts=facts)
    else:
        lineage.model_call(
            record.asker, record.model, prompt, scrub(outcome.text), tokens_in=outcome.tokens_in, tokens_out=outcome.tokens_out,
            dollars=outcome.dollars, seconds=outcome.seconds, facts={**facts, "finish": outcome.finish, **outcome.facts},
        )  # fmt: skip


def _unused(lineage: Reading) -> dict[int, list[Reply]]:
    """Answers of proposals that are still in flight: paid for, stored, and not yet made into a candidate."""
    found: dict[int, list[Reply]] = {}
    for row in lineage.select(
        "SELECT m.candidate, m.model, m.answer, m.tokens_in, m.tokens_out, m.dollars, m.seconds, m.facts FROM model_calls m "
        "WHERE m.run = ? AND m.candidate IS NOT NULL AND NOT EXISTS "
        "(SELECT 1 FROM candidates c WHERE c.run = m.run AND c.number = m.candidate) ORDER BY m.id",
        (lineage.run,),
    ):
        facts = rows.load(row["facts"])
        if "error" not in facts:
            reply = Reply(
                row["model"], row["answer"], row["tokens_in"], row["tokens_out"], row["dollars"], row["seconds"],
                str(facts.get("finish", "stop")), 0,
            )  # fmt: skip
            found.setdefault(row["candidate"], []).append(reply)
    return found


def _brief(config: Config, facts: Mapping[str, Any], seed: Kernel) -> Brief:
    if config.target.name == "tabular":
        return Brief(Path(config.problem).stem, "", "tabular", seed.language, "The kernel's text is its tunable declarations.")
    from fitness.problem import Problem, ProblemError

    try:
        problem = Problem.load(config.problem)
    except ProblemError:
        # A run may be read where its problem's folder is not; what it says of itself has to do.
        return Brief(config.problem, "", config.target.name, seed.language, "")
    return Brief.of(problem, config.target.name, seed.language, facts, config.target.threads)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            "A kernel to be ported cannot be read.", file=path, key="llm.ports", found=str(error), remedy="Correct the path."
        ) from error
