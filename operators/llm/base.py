"""The common course of all operators that ask a model.

The prompt is made at once, from what the view shows now. Then the answer is awaited, read, and, when it cannot be used,
complained about once, precisely. What still cannot be used is a draft without a kernel whose reason says why.

Reasons for no kernel: those of `operators.answers.Complaint` and of `ModelFailure`; `malformed_tunables`, `duplicate`,
`no_money`, `prompt_too_long`.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from archive.candidate import Candidate, Draft, Proposal, Repair, VisitCell
from archive.kernel import Kernel
from archive.values import TunableError
from operators.answers import Complaint, read
from operators.base import Context, Operator, OperatorError
from operators.llm.breeding import breed, is_due
from operators.llm.studio import Studio
from operators.llm.telling import Told
from operators.models.call import Message, ModelFailure, OutOfMoney, Reply
from operators.programs import same_program
from operators.prompt import Prompt

__all__ = ["Letter", "ModelOperator", "kernel_of"]

LONGEST_IDEA = 300


@dataclass(frozen=True, slots=True)
class Letter:
    """A prompt ready to be sent, and what its answer has to be read with."""

    prompt: Prompt
    parent: Kernel | None
    """What SEARCH blocks refer to."""
    language: str
    edits: bool
    facts: Mapping[str, object]
    """What the templates spoke of."""
    notes: Mapping[str, object]
    """For the lineage: cell aimed at, variants, what was dropped."""


class ModelOperator(Operator):
    """An operator whose kernels come from a model; `letter` is what distinguishes them."""

    costs_money = True
    goals = (VisitCell, Repair)
    template: ClassVar[str]

    @abstractmethod
    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        """What the template speaks of, beside `brief` and `edits`. Key `parent` is the kernel to work on, if any."""

    def rewrites(self) -> bool:
        """Whether only whole files are asked for."""
        return False

    def letter(self, proposal: Proposal, context: Context) -> Letter:
        """The prompt of a proposal: a function of proposal, view, studio and `context.rng`.

        Raises:
            OperatorError: the proposal is malformed, or a template is.
        """
        studio = context.studio
        if studio is None:
            raise OperatorError(f"proposal {proposal.number}: `{self.name}` needs a model; set llm.model, or use `evo ask`")
        edits = not self.rewrites() and context.rng.random() < studio.manner.edits
        facts = self.facts(proposal, context, studio)
        parents = self.take(proposal, context)
        told = facts.get("parent")
        facts = {
            "brief": studio.brief, "edits": edits, "goal": "", "others": [], "tried": [], "ancestor": "", "port": "", "state": "",
            "knowledge": _passages(studio, told if isinstance(told, Told) else None), **facts,
        }  # fmt: skip
        evolvable = [section.name for section in studio.library.evolvable(self.template)]
        variants = studio.population.choose(self.name, evolvable, context.rng)
        prompt = studio.library.render(self.template, facts, {section: variant.text for section, variant in variants.items()})
        notes: dict[str, object] = {"prompt": self.template, "asked_for": "edits" if edits else "rewrite"}
        notes["variants"] = {section: variants[section].id if section in variants else "original" for section in evolvable}
        if prompt.dropped:
            notes["dropped"] = list(prompt.dropped)
        if isinstance(aimed := facts.get("cell"), tuple):
            notes["aimed_at"] = list(aimed)
        return Letter(prompt, parents[0] if parents else None, studio.brief.language, edits, facts, notes)

    def begin(self, proposal: Proposal, context: Context) -> Callable[[], Awaitable[Draft]]:
        """Writes the prompt now; what it returns asks and brings the draft. Raises OperatorError."""
        letter = self.letter(proposal, context)
        studio = context.studio
        if studio is None or studio.desk is None:
            raise OperatorError(f"proposal {proposal.number}: `{self.name}` found no model to ask; set llm.model or EVO_MODEL")
        if letter.prompt.too_long:
            return lambda: _at_once(Draft(None, "prompt_too_long", {**letter.notes, "tokens": letter.prompt.tokens}))
        model = studio.desk.choose(context.rng)
        return lambda: self._answered(proposal, context, letter, studio, model)

    def propose(self, proposal: Proposal, context: Context) -> Draft:
        """As `begin`, waited for here; not for use inside an event loop."""

        async def wait() -> Draft:
            return await self.begin(proposal, context)()

        return asyncio.run(wait())

    async def _answered(self, proposal: Proposal, context: Context, letter: Letter, studio: Studio, model: str) -> Draft:
        desk = studio.desk
        assert desk is not None
        conversation, replies = letter.prompt.conversation, list[Reply]()
        try:
            replies.append(await desk.ask(conversation, model=model, purpose=self.name, asker=proposal.number))
            await context.turn()
            found = kernel_of(replies[0].text, letter, context, truncated=replies[0].finish == "length")
            if isinstance(found, Complaint):
                correction = studio.library.render("correction", {**letter.facts, "complaint": found.message})
                conversation = (*conversation, Message("assistant", replies[0].text or "(nothing)"), *correction.conversation)
                replies.append(await desk.ask(conversation, model=model, purpose="correction", asker=proposal.number))
                first, found = found, kernel_of(replies[1].text, letter, context, truncated=replies[1].finish == "length")
                letter = _with_notes(letter, corrected=first.reason)
        except OutOfMoney as error:
            return Draft(None, "no_money", {**_notes(letter, replies, model), "message": str(error)})
        except ModelFailure as failure:
            notes = _notes(letter, replies, model, dollars=failure.dollars)
            return Draft(None, failure.reason, {**notes, "message": str(failure), "requests": failure.requests})
        await self._breed(proposal, letter, studio, model)
        notes = _notes(letter, replies, model)
        if isinstance(found, Complaint):
            return Draft(None, found.reason, {**notes, "message": found.message})
        return Draft(found, notes={**notes, "idea": _idea(replies[-1].text)})

    async def _breed(self, proposal: Proposal, letter: Letter, studio: Studio, model: str) -> None:
        """After a share of the proposals, asks for another wording of the prompt's evolvable section."""
        sections = studio.library.evolvable(self.template)
        if sections and is_due(proposal, studio.manner.evolve):
            section = sections[proposal.number % len(sections)]
            original = studio.library.text(self.template, section.name, letter.facts)
            await breed(proposal, self.name, section.name, original, model, studio)


def kernel_of(answer: str, letter: Letter, context: Context, *, truncated: bool = False) -> Kernel | Complaint:
    """The kernel that an answer means, or what is wrong with it: unreadable, with malformed tunables, or known already."""
    source = read(answer, None if letter.parent is None else letter.parent.source, letter.language, truncated=truncated)
    if isinstance(source, Complaint):
        return source
    kernel = Kernel(letter.language, source)
    try:
        kernel.template  # noqa: B018 - parses
    except (TunableError, RecursionError) as error:
        return Complaint("malformed_tunables", f"A tunable of your kernel is malformed: {error}")
    same = _same(kernel, letter, context)
    if same is not None:
        return Complaint(
            "duplicate" if letter.parent is None or same != letter.parent.id else "no_change",
            "Your kernel is, but for comments and layout, one that was evaluated before. Send one that does something differently.",
        )
    return kernel


def _same(kernel: Kernel, letter: Letter, context: Context) -> str | None:
    """The id of a known kernel that is the same program."""
    if context.view.seen(kernel.id):
        return kernel.id
    if letter.parent is not None and same_program(kernel, letter.parent):
        return letter.parent.id
    return None if context.studio is None else context.studio.programs.find(kernel)


def _passages(studio: Studio, parent: Told | None) -> list[object]:
    if not studio.manner.passages:
        return []
    words = [studio.brief.problem]
    if parent is not None:
        words = [parent.bottleneck, *(f"{finding.reason} {finding.message[:200]}" for finding in parent.diagnostics), *words]
    else:
        words.append(studio.brief.specification[:300])
    return list(studio.knowledge.search(" ".join(words), target=studio.brief.target, limit=studio.manner.passages))


def parent_of(proposal: Proposal, context: Context, position: int = 0) -> Candidate:
    """A parent as a candidate. Raises OperatorError."""
    if len(proposal.parents) <= position:
        raise OperatorError(f"proposal {proposal.number}: found {len(proposal.parents)} parents, expected at least {position + 1}")
    try:
        return context.view.candidate(proposal.parents[position])
    except KeyError:
        number = proposal.parents[position]
        raise OperatorError(f"proposal {proposal.number}: found parent {number}, expected a finished candidate") from None


def _with_notes(letter: Letter, **more: object) -> Letter:
    return Letter(letter.prompt, letter.parent, letter.language, letter.edits, letter.facts, {**letter.notes, **more})


def _notes(letter: Letter, replies: list[Reply], model: str, dollars: float = 0.0) -> dict[str, object]:
    return {
        **letter.notes,
        "model": model,
        "dollars": dollars + sum(reply.dollars for reply in replies),
        "tokens": [sum(reply.tokens_in for reply in replies), sum(reply.tokens_out for reply in replies)],
        "model_seconds": round(sum(reply.seconds for reply in replies), 3),
    }


def _idea(answer: str) -> str:
    """What the model said before its code: the reason for the change, for the prompts of its siblings."""
    head = answer.split("```")[0].split("<<<<<")[0]
    text = " ".join(head.split())
    return text if len(text) <= LONGEST_IDEA else text[: LONGEST_IDEA - 1] + "…"


async def _at_once(draft: Draft) -> Draft:
    return draft
