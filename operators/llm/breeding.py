"""Meta-prompt evolution: a model writes another wording of an evolvable section from the scored ones."""

from __future__ import annotations

from archive.candidate import Proposal
from operators.answers import fences_in
from operators.llm.studio import Studio
from operators.models.call import ModelFailure, OutOfMoney
from operators.population import Variant

__all__ = ["breed", "is_due"]

SHOWN = 4
"""Wordings shown to the model: the best ones."""
LONGEST = 1500
"""Characters; a longer wording is not taken."""


def is_due(proposal: Proposal, share: float) -> bool:
    """Whether a wording is bred after this proposal: a function of its number, so that a resumed run decides alike."""
    return (proposal.number * 2654435761 % 2**32) / 2**32 < share


async def breed(proposal: Proposal, operator: str, section: str, original: str, model: str, studio: Studio) -> Variant | None:
    """A new wording, taken into the population and kept in the lineage; None when the model had none that can be used."""
    if studio.desk is None:
        return None
    scored = studio.population.scores(operator, section)[:SHOWN]
    shown = [{"text": variant.text or original, "uses": uses, "score": score} for variant, uses, score in scored]
    prompt = studio.library.render("evolve", {"operator": operator, "section": section, "variants": shown})
    try:
        reply = await studio.desk.ask(prompt.conversation, model=model, purpose="prompt_evolution", asker=proposal.number)
    except (ModelFailure, OutOfMoney):
        return None
    fences = fences_in(reply.text)
    text = (max((body for _, body in fences), key=len) if fences else "").strip()
    if not text or len(text) > LONGEST or text == original.strip():
        return None
    variant = Variant(operator, section, text, scored[0][0].id)
    if not studio.population.add(variant):
        return None
    studio.keep(variant.dump())
    return variant
