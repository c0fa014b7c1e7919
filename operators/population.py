"""Wordings of the evolvable sections of prompts, as a population: they earn fitness by what their children improve.

After A. Fernando et al., "Promptbreeder", arXiv:2309.16797, 2023, and KernelFoundry's co-evolved prompts: the template's own
wording is the first individual; a model writes others from the scored ones; each use is credited with the improvement (ln)
of the kernel that came of it over its parent. Choice is by Thompson sampling, so a new wording gets its trials and no more.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass

from operators.bandit import Thompson

__all__ = ["Population", "Variant"]

ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Variant:
    """One wording of one section of one operator's prompt."""

    operator: str
    section: str
    text: str
    """Empty for the template's own."""
    parent: str = ""

    @property
    def id(self) -> str:
        if not self.text:
            return ORIGINAL
        return hashlib.sha256(f"{self.operator}\0{self.section}\0{self.text}".encode()).hexdigest()[:12]

    def dump(self) -> str:
        """As it is kept in the lineage's table of prompts."""
        return f"---\nvariant: {self.id}\noperator: {self.operator}\nsection: {self.section}\nparent: {self.parent}\n---\n{self.text}\n"

    @classmethod
    def load(cls, text: str) -> Variant | None:
        """The variant that `dump` wrote; None for another text."""
        head, _, body = text.removeprefix("---\n").partition("\n---\n")
        facts = dict(line.partition(": ")[::2] for line in head.splitlines())
        if not text.startswith("---\nvariant: ") or not {"operator", "section"} <= facts.keys():
            return None
        return cls(facts["operator"], facts["section"], body.rstrip("\n"), facts.get("parent", ""))


class Population:
    """Variants by (operator, section); most of them at once are `size`, the worst makes room."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self._variants: dict[tuple[str, str], dict[str, Variant]] = {}
        self._choice: dict[tuple[str, str], Thompson] = {}

    def add(self, variant: Variant) -> bool:
        """Takes a variant in; False when it is there already."""
        place = variant.operator, variant.section
        known = self._variants.setdefault(place, {ORIGINAL: Variant(*place, "")})
        choice = self._choice.setdefault(place, Thompson({ORIGINAL: 1.0}))
        if variant.id in known:
            return False
        known[variant.id] = variant
        choice.arms[variant.id] = type(choice.arms[ORIGINAL])(1.0)
        if len(known) > self.size:
            tried = [name for name in known if name not in (ORIGINAL, variant.id) and choice.arms[name].pulls]
            if tried:
                worst = min(tried, key=lambda name: (choice.arms[name].earned / choice.arms[name].pulls, name))
                del known[worst], choice.arms[worst]
        return True

    def choose(self, operator: str, sections: Iterable[str], rng: random.Random) -> dict[str, Variant]:
        """A variant for each section that has any; the template's own wording counts as one."""
        chosen = {}
        for section in sections:
            choice = self._choice.get((operator, section))
            if choice is not None:
                variant = self._variants[operator, section][choice.choose(rng)]
                if variant.text:
                    chosen[section] = variant
        return chosen

    def learn(self, operator: str, section: str, variant: str, gain: float) -> None:
        """A kernel came of a prompt with this variant and improved on its parent by `gain` (ln, at least 0)."""
        self.add(Variant(operator, section, ""))
        self._choice[operator, section].learn(variant, gain, 1.0)

    def scores(self, operator: str, section: str) -> list[tuple[Variant, int, float]]:
        """(variant, uses, mean gain), best first."""
        self.add(Variant(operator, section, ""))
        arms = self._choice[operator, section].arms
        rows = [
            (variant, arms[name].pulls, arms[name].earned / arms[name].pulls if arms[name].pulls else 0.0)
            for name, variant in self._variants[operator, section].items()
        ]
        return sorted(rows, key=lambda row: (-row[2], row[0].id))
