"""`evo tell`: answers that were placed beside proposals are read, evaluated and put before the archive.

Every answer is stored before it is evaluated. Telling the same answer again says what was found; another answer to the same
proposal is a new proposal with the same parents; so is an answer to a proposal that this copy of the run does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archive.candidate import Candidate, Draft, Proposal
from archive.kernel import Kernel
from archive.lineage import Lineage
from evo.engine import Engine
from evo.errors import UserError
from evo.llm.asking import ANSWERS, ASKED, Sheet, read_sheet
from evo.rundir import SUFFIXES
from evo.state import State
from operators.answers import Complaint, read
from operators.models.secrets import scrub

__all__ = ["Answered", "Answering", "answers_in"]

UNREADABLE = "answer_unreadable"


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of one answer."""

    folder: str
    candidate: Candidate | None
    """None when the answer could not be read, or says nothing yet."""
    message: str = ""
    """Why there is no candidate, or what else is to be said."""

    def facts(self) -> dict[str, object]:
        """What there is to say, as plain values."""
        candidate = self.candidate
        if candidate is None:
            return {"proposal": self.folder, "result": "not evaluated", "message": self.message}
        evaluation = candidate.evaluation
        found: dict[str, object] = {"proposal": self.folder, "candidate": candidate.number, "message": self.message}
        found["archive"] = None if candidate.status is None else candidate.status.value
        found["cell"] = None if candidate.cell is None else list(candidate.cell)
        if evaluation is None:
            return {**found, "result": "duplicate"}
        speedup = None if evaluation.speedup is None else f"{evaluation.speedup:.3f}x the baseline"
        said = "\n".join(f"[{one.stage}: {one.reason}] {one.message}" for one in evaluation.diagnostics)
        return {**found, "result": evaluation.outcome.value, "speedup": speedup, "diagnostics": said}


@dataclass(frozen=True, slots=True)
class Answer:
    folder: Path
    sheet: Sheet
    text: str
    is_kernel: bool
    """Whether the text is a kernel's file, not prose around one."""


def answers_in(folder: Path) -> list[Answer]:
    """The answers below a folder (or in it, when it is a proposal's own), by name; unanswered proposals are left out.

    Raises:
        UserError: it holds no proposal.
    """
    folders = [folder] if (folder / "proposal.json").is_file() else sorted(path.parent for path in folder.glob("*/proposal.json"))
    if not folders:
        raise UserError(
            "There are no proposals here.", file=folder, found="no proposal.json in it or in its folders",
            expected="a folder that `evo ask -o` wrote", remedy="evo ask RUN -o DIR",
        )  # fmt: skip
    found = []
    for one in folders:
        sheet = read_sheet(one)
        names = [*ANSWERS, f"kernel{SUFFIXES.get(sheet.language, '.txt')}"]
        for name in names:
            path = one / name
            if path.is_file() and (text := path.read_text(encoding="utf-8", errors="replace")).strip():
                found.append(Answer(one, sheet, text, name.startswith("kernel")))
                break
    return found


class Answering:
    """Evaluates answers in an open run.

    Args:
        by: who answered, as it is kept in the lineage.
    """

    def __init__(self, lineage: Lineage, state: State, engine: Engine, by: str = "person") -> None:
        self._lineage = lineage
        self._state = state
        self._engine = engine
        self._by = by

    async def take(self, answer: Answer) -> Answered:
        """One answer to its end."""
        parents = self._parents(answer.sheet)
        source = self._read(answer, parents)
        name = answer.folder.name
        if isinstance(source, Complaint):
            self._store(None, answer, source.reason)
            return Answered(name, None, f"{source.reason}: {source.message}")
        kernel = Kernel(answer.sheet.language, source)
        known = self._known(kernel)
        if known is not None:
            return Answered(name, known, f"this kernel is candidate {known.number}, which was evaluated before")
        proposal = self._proposal(answer.sheet, parents)
        self._store(proposal.number, answer, "")
        notes = {"model": self._by, "dollars": 0.0, "answer_to": name}
        await self._engine.evaluate([(proposal, Draft(kernel, notes=notes))])
        return Answered(name, self._state.view.candidate(proposal.number))

    def _read(self, answer: Answer, parents: tuple[int, ...]) -> str | Complaint:
        parent = self._state.view.candidate(parents[0]).kernel if parents else None
        if answer.is_kernel:
            return answer.text
        return read(answer.text, None if parent is None else parent.source, answer.sheet.language)

    def _parents(self, sheet: Sheet) -> tuple[int, ...]:
        """The proposal's parents in this copy of the run: by kernel, for numbers may differ."""
        by_kernel = {
            c.kernel.id: c.number for c in reversed(self._state.view.candidates) if c.kernel is not None and c.evaluation is not None
        }
        return tuple(by_kernel[kernel] for kernel in sheet.parent_kernels if kernel in by_kernel)

    def _known(self, kernel: Kernel) -> Candidate | None:
        return next((c for c in self._state.view.candidates if c.kernel == kernel and c.evaluation is not None), None)

    def _proposal(self, sheet: Sheet, parents: tuple[int, ...]) -> Proposal:
        """The proposal that was asked when it is open here, else a new one."""
        record = self._lineage.run_record()
        if sheet.created == record.created:
            for proposal, _ in self._lineage.in_flight():
                if proposal.number == sheet.number and proposal.operator == ASKED and proposal.parents == sheet.parents:
                    return proposal
        return Proposal(self._engine.take_number(), ASKED, parents)

    def _store(self, number: int | None, answer: Answer, reason: str) -> None:
        prompt = answer.folder / "PROMPT.md"
        text = prompt.read_text(encoding="utf-8") if prompt.is_file() else answer.folder.name
        facts = {"purpose": "answer", "requests": 0, **({"error": UNREADABLE, "message": reason} if reason else {})}
        self._lineage.model_call(number, self._by, self._lineage.prompt(scrub(text)), scrub(answer.text), facts=facts)
