"""Looking knowledge up: Markdown notes with front matter, split at their headings, indexed in SQLite FTS5 by sqlite-utils.

    ---
    title: Streaming stores on x86
    target: [cpp]                       # empty or missing: any
    topic: memory
    bottleneck: [memory bandwidth]      # words that a bottleneck or a diagnostic may contain
    constraints: AVX or later; outputs larger than the last-level cache
    ---

What fits the target is ranked by FTS5's bm25 over title, topic, bottleneck and text; equal ranks go by title, so the same
question always has the same answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from operators.base import OperatorError

__all__ = ["Knowledge", "Note", "Passage", "read_notes"]

FOLDER = Path(__file__).resolve().parent / "knowledge"
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_+]{2,}|\d{2,}")
COMMON_WORDS = """
the and that with from this for are was were which have has its not but all any into than then they them only more most kernel kernels
should would could does did been being there their when where what while your you will can may one two
"""
COMMON = frozenset(COMMON_WORDS.split())
KEYS = {"title", "target", "topic", "bottleneck", "diagnostics", "constraints", "source"}


@dataclass(frozen=True, slots=True)
class Note:
    """One file."""

    path: Path
    title: str
    targets: tuple[str, ...]
    topic: str
    bottleneck: str
    constraints: str
    body: str


@dataclass(frozen=True, slots=True)
class Passage:
    """One section of a note."""

    title: str
    text: str
    file: str
    targets: tuple[str, ...]
    score: float
    """Higher is better."""


def read_notes(folders: Sequence[Path]) -> Iterator[Note]:
    """Every `*.md` below the folders, in order of names.

    Raises:
        OperatorError: a folder is missing, or a note's front matter is malformed.
    """
    for folder in folders:
        if not folder.is_dir():
            raise OperatorError(f"knowledge: found no folder {folder}, expected one with Markdown notes; correct llm.knowledge")
        for path in sorted(folder.rglob("*.md")):
            yield _note(path)


def _note(path: Path) -> Note:
    text = path.read_text(encoding="utf-8")
    found = re.match(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
    if found is None:
        raise OperatorError(f"{path}: found no front matter, expected it between two lines `---` at the top")
    try:
        facts = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise OperatorError(f"{path}: the front matter is not YAML: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("title"), str):
        raise OperatorError(f"{path}: found no title in the front matter, expected `title: …`")
    unknown = set(facts) - KEYS
    if unknown:
        raise OperatorError(f"{path}: found {', '.join(sorted(unknown))} in the front matter, expected only {', '.join(sorted(KEYS))}")
    return Note(
        path=path,
        title=facts["title"],
        targets=tuple(_listed(facts.get("target"))),
        topic=str(facts.get("topic", "")),
        bottleneck=", ".join([*_listed(facts.get("bottleneck")), *_listed(facts.get("diagnostics"))]),
        constraints=str(facts.get("constraints", "")),
        body=found[2].strip(),
    )


def _listed(value: Any) -> list[str]:
    return [] if value is None else [str(one) for one in value] if isinstance(value, list) else [str(value)]


class Knowledge:
    """An index over notes, in memory; building it takes some milliseconds.

    Args:
        folders: the user's own, in addition to the notes that come with the package.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        from sqlite_utils import Database

        self._db = Database(memory=True)
        rows = [
            {
                "title": note.title if not heading else f"{note.title}: {heading}", "text": text, "file": str(note.path),
                "targets": " ".join(note.targets), "topic": note.topic, "bottleneck": f"{note.bottleneck} {note.constraints}",
            }
            for note in read_notes((FOLDER, *folders))
            for heading, text in _sections(note)
        ]  # fmt: skip
        columns = {"title": str, "text": str, "file": str, "targets": str, "topic": str, "bottleneck": str}
        passages = self._db.table("passages")
        passages.create(columns)
        passages.insert_all(rows)
        passages.enable_fts(["title", "topic", "bottleneck", "text"], tokenize="porter")

    def search(self, question: str, *, target: str | None = None, limit: int = 3) -> list[Passage]:
        """The passages nearest to a question.

        Args:
            question: words; anything FTS5 would take for syntax is taken as words too.
            target: leaves out notes that are for other targets.
        """
        words = list(dict.fromkeys(word.lower() for word in WORD.findall(question) if word.lower() not in COMMON))[:40]
        if not words:
            return []
        match = " OR ".join(f'"{word}"' for word in words)
        rows = self._db.query(
            "SELECT p.title, p.text, p.file, p.targets, bm25(passages_fts, 4.0, 3.0, 3.0, 1.0) AS rank FROM passages_fts f "
            "JOIN passages p ON p.rowid = f.rowid WHERE passages_fts MATCH :match ORDER BY rank, p.title",
            {"match": match},
        )
        found: list[Passage] = []
        for row in rows:
            targets = tuple(row["targets"].split())
            if target is None or not targets or target in targets:
                found.append(Passage(row["title"], row["text"], row["file"], targets, -row["rank"]))
                if len(found) == limit:
                    break
        return found


def _sections(note: Note) -> Iterator[tuple[str, str]]:
    """(heading, text) of each `## ` section; what stands before the first has an empty heading."""
    pieces = re.split(r"^## (.+)$", note.body, flags=re.MULTILINE)
    if pieces[0].strip():
        yield "", pieces[0].strip()
    for heading, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if text.strip():
            yield heading.strip(), text.strip()
