"""`evo ask`: proposals as folders of files, with everything that is needed to answer them, for a person or a coding agent.

DIR/RUN-0042/PROMPT.md       what is wanted, in full
DIR/RUN-0042/parent.cpp      the kernel to start from
DIR/RUN-0042/proposal.json   which proposal of which run this is; not to be changed
DIR/RUN-0042/answer.md       (or kernel.cpp) the answer, placed here; a missing or empty one is passed over
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from archive.candidate import Proposal
from archive.kernel import Kernel
from archive.lineage import Lineage
from evo.config import Config
from evo.errors import UserError
from evo.llm.looking import Looking
from evo.rundir import SUFFIXES
from operators.base import OperatorError, operator, operator_class
from operators.llm.base import Letter, ModelOperator

__all__ = ["ANSWERS", "Sheet", "ask", "prompt_for", "read_sheet"]

ASKED = "asked"
ANSWERS = ("answer.md", "answer.txt")
HOW = """
---
How to answer: put your whole answer into `answer.md` beside this file, or the complete kernel into `kernel{suffix}`.
Then `evo tell {run} {folder}` evaluates it and says what came of it. You may answer again with another text.
"""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What `proposal.json` says."""

    run: str
    """Name of the run's folder."""
    created: str
    """When the run was made: two runs of one name are told apart by it."""
    number: int
    language: str
    parents: tuple[int, ...]
    parent_kernels: tuple[str, ...]
    template: str

    def dump(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self.__slots__}, indent=1) + "\n"


def read_sheet(folder: Path) -> Sheet:
    """The sheet of a proposal's folder. Raises UserError when it was spoilt."""
    path = folder / "proposal.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Sheet(
            str(facts["run"]), str(facts["created"]), int(facts["number"]), str(facts["language"]),
            tuple(map(int, facts["parents"])), tuple(map(str, facts["parent_kernels"])), str(facts["template"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            "A proposal's sheet cannot be read.", file=path, found=str(error), expected="the file that `evo ask` wrote", remedy="Ask again."
        ) from error


def prompt_for(looking: Looking, name: str, number: int, parents: tuple[int, ...]) -> Letter:
    """The letter that operator `name` would send for proposal `number`.

    Raises:
        UserError: the operator asks no model, or cannot work with these parents.
    """
    made = operator(name)
    if not isinstance(made, ModelOperator):
        raise UserError(f"`{name}` asks no model.", key="--operator", found=name, expected=", ".join(model_operators()))
    parents = made.partners(parents, looking.state.view)
    try:
        return made.letter(Proposal(number, name, parents), looking.context(number))
    except OperatorError as error:
        raise UserError(str(error), key="--operator", found=name, remedy="Choose another operator or other parents.") from error


def model_operators() -> list[str]:
    from operators.base import names

    return [name for name in names() if issubclass(operator_class(name), ModelOperator)]


def ask(config: Config, lineage: Lineage, run: Path, count: int, out: Path, template: str = "llm_universal") -> list[Path]:
    """Stores `count` new proposals and writes a folder for each; returns the folders.

    Raises:
        UserError: the run has not begun, or a folder cannot be written.
    """
    looking = Looking(config, lineage)
    record = lineage.run_record()
    folders = []
    for _ in range(count):
        number = looking.next_number()
        parents = looking.move(number)
        letter = prompt_for(looking, template, number, parents)
        parents = operator(template).partners(parents, looking.state.view)
        kernels = tuple(kernel for kernel in (looking.state.view.candidate(parent).kernel for parent in parents) if kernel is not None)
        folder = out / f"{run.resolve().name}-{number:04d}"
        sheet = Sheet(
            run.resolve().name, record.created, number, letter.language, parents, tuple(kernel.id for kernel in kernels), template
        )
        _write(folder, sheet, letter, kernels, run)
        lineage.propose(Proposal(number, ASKED, parents))
        folders.append(folder)
    lineage.flush()
    return folders


def _write(folder: Path, sheet: Sheet, letter: Letter, kernels: tuple[Kernel, ...], run: Path) -> None:
    suffix = SUFFIXES.get(sheet.language, ".txt")
    text = "\n\n".join(message.text for message in letter.prompt.conversation)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for position, kernel in enumerate(kernels):
            (folder / f"{'parent' if position == 0 else f'parent{position + 1}'}{suffix}").write_text(kernel.source, encoding="utf-8")
        (folder / "PROMPT.md").write_text(text + "\n" + HOW.format(suffix=suffix, run=run, folder=folder.parent), encoding="utf-8")
        (folder / "proposal.json").write_text(sheet.dump(), encoding="utf-8")
    except OSError as error:
        raise UserError(
            "A proposal cannot be written.", file=error.filename or folder, found=error.strerror, remedy="Choose another folder with -o."
        ) from error
