"""Reading what a model sent: edits or a whole file, somewhere in prose, or something else altogether.

An answer is read towards one of two ends: a source, or a `Complaint` that says precisely what is wrong with it, in words that
the model can act on. Nothing here knows whether edits or a rewrite were asked for; both are understood.

    <<<<<<< SEARCH          SEARCH text need not be exact: trailing blanks, then indentation, then small differences
    old lines               are forgiven, as long as one place alone fits.
    =======
    new lines
    >>>>>>> REPLACE
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MOST_CHARACTERS", "Complaint", "Edit", "apply_edits", "edits_in", "fences_in", "read"]

MOST_CHARACTERS = 200_000
"""A kernel that is larger than this is no kernel."""
ALIKE = 0.9
"""Share of a SEARCH block that has to agree with a place of the source for it to count as meant."""
LEAST_PART = 8
"""Characters that a SEARCH block needs to mean a part of a line."""
CLEARLY = 0.03
"""How much better than the second-best place the best one has to be."""

EDIT = re.compile(
    r"^[ \t]*<{5,9}[ \t]*SEARCH[^\n]*\n(?P<old>.*?)^[ \t]*={5,9}[ \t]*\n(?P<new>.*?)^[ \t]*>{5,9}[ \t]*REPLACE[^\n]*$",
    re.MULTILINE | re.DOTALL,
)
OPENED = re.compile(r"^[ \t]*<{5,9}[ \t]*SEARCH", re.MULTILINE)
FENCE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<tag>[\w+#.-]*)[^\n]*\n(?P<text>.*?)^[ \t]*(?P=mark)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
FENCE_OPENED = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n]*$", re.MULTILINE)
REFUSAL = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|unable|not able)|I can(?:'t|not)|I (?:won't|will not)|as an AI|against (?:my|the) (?:policy|guidelines))",
    re.IGNORECASE,
)
TAGS = {
    "cpp": {"cpp", "c++", "c", "cc", "cxx", "h", "hpp"},
    "cuda": {"cuda", "cu", "cpp", "c++", "c"},
    "hip": {"hip", "cpp", "c++", "c", "cuda"},
    "python": {"python", "py", "python3"},
    "triton": {"python", "py", "python3", "triton"},
}
SIGNS = {
    "cpp": re.compile(r"#\s*include|\bextern\s+\"C\"|\bvoid\s+\w+\s*\(|\bint64_t\b|;\s*$", re.MULTILINE),
    "python": re.compile(r"^\s*(?:(?:def|import|from|class|@)\s*\w|\w+\s*=[^=;]+$)", re.MULTILINE),
}


@dataclass(frozen=True, slots=True)
class Edit:
    """One SEARCH/REPLACE block; both sides end with a newline or are empty."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why an answer gives no kernel."""

    reason: str
    """A stable slug: `empty`, `refused`, `truncated`, `no_code`, `search_not_found`, `wrong_language`, `no_change`, …"""
    message: str
    """Written to the model."""


def read(answer: str, parent: str | None, language: str, *, truncated: bool = False) -> str | Complaint:
    """The source that an answer means.

    Args:
        answer: all that the model sent.
        parent: what SEARCH blocks refer to; None when there was nothing to edit.
        language: of the kernel that is wanted.
        truncated: whether the model stopped because it ran into its token limit.
    """
    if not answer.strip():
        return Complaint("empty", "Your answer was empty. Send the kernel in the format described.")
    edits = edits_in(answer)
    if edits and parent is not None:
        if truncated or len(OPENED.findall(answer)) > len(edits):
            return _cut("the last SEARCH/REPLACE block is not finished")
        found = apply_edits(parent, edits)
    elif OPENED.search(answer):
        found = _cut("a SEARCH/REPLACE block is not finished") if parent is not None else _no_parent()
    else:
        found = _whole(answer, language, truncated)
    if isinstance(found, Complaint):
        return found
    return _checked(found, parent, language)


def _checked(source: str, parent: str | None, language: str) -> str | Complaint:
    if len(source) > MOST_CHARACTERS:
        return Complaint(
            "oversized", f"The kernel has {len(source)} characters; at most {MOST_CHARACTERS} are accepted. Send a smaller one."
        )
    if "\0" in source:
        return Complaint("no_code", "The kernel contains NUL characters. Send plain text.")
    if parent is not None and source.split() == parent.split():
        return Complaint("no_change", "Your answer leaves the kernel as it is. Change something that makes it faster, or different.")
    family = _family(language)
    if not SIGNS[family].search(source):
        other = "python" if family == "cpp" else "cpp"
        if SIGNS[other].search(source):
            return Complaint("wrong_language", f"The code is not {language}. Write the kernel in {language}, for the interface described.")
        return Complaint("no_code", f"What you sent does not look like a {language} kernel. Send the complete source in one code block.")
    if family == "cpp" and re.search(r"^\s*(?:def \w+\(.*\):|import \w+|from \w+ import)", source, re.MULTILINE):
        return Complaint(
            "wrong_language", f"The code is Python, not {language}. Write the kernel in {language}, for the interface described."
        )
    return source


def _family(language: str) -> str:
    return "cpp" if language in ("cpp", "cuda", "hip") else "python"


def _cut(how: str) -> Complaint:
    return Complaint(
        "truncated", f"Your answer was cut off: {how}. Answer again, shorter: SEARCH/REPLACE blocks for the changed lines only."
    )


def _no_parent() -> Complaint:
    return Complaint(
        "no_parent", "There is no kernel to edit. Send the complete source in one code block instead of SEARCH/REPLACE blocks."
    )


# ── whole files ──


def fences_in(answer: str) -> list[tuple[str, str]]:
    """(tag, text) of every closed code fence, in order."""
    return [(found["tag"].lower(), _dedented(found["text"], found["indent"])) for found in FENCE.finditer(answer)]


def _dedented(text: str, indent: str) -> str:
    return "".join(line.removeprefix(indent) for line in text.splitlines(keepends=True)) if indent else text


def _whole(answer: str, language: str, truncated: bool) -> str | Complaint:
    """The largest fence in the right language; a bare file without fences counts too."""
    fences = fences_in(answer)
    if truncated or len(FENCE_OPENED.findall(answer)) % 2:
        return _cut("the code block is not closed")
    if not fences:
        family = _family(language)
        bare = answer.strip() + "\n"
        starts = ("#", "//", "/*", "extern", "static", "using", "template") if family == "cpp" else ("import ", "from ", '"""', "@", "#")
        if bare.startswith(starts) and SIGNS[family].search(bare):
            return bare
        if REFUSAL.search(answer[:600]):
            return Complaint("refused", "Optimising a numerical kernel is harmless. Send the complete source in one code block.")
        return Complaint("no_code", "Your answer contains no code block. Send the complete source in one fenced block.")
    wanted = [text for tag, text in fences if tag in TAGS.get(language, set())]
    untagged = [text for tag, text in fences if not tag]
    chosen = max(wanted or untagged, key=len, default="")
    if not chosen.strip():
        tags = ", ".join(sorted({tag for tag, _ in fences if tag})) or "nothing"
        return Complaint(
            "wrong_language", f"Your code blocks are marked {tags}; the kernel has to be {language}. Send it in a ```{language} block."
        )
    return chosen if chosen.endswith("\n") else chosen + "\n"


# ── edits ──


def edits_in(answer: str) -> list[Edit]:
    """Every complete SEARCH/REPLACE block, in order; inside or outside of fences."""
    return [Edit(found["old"], found["new"]) for found in EDIT.finditer(answer.replace("\r\n", "\n"))]


def apply_edits(source: str, edits: Sequence[Edit]) -> str | Complaint:
    """The source with every edit applied, one after the other; all of them or a complaint about the first that does not fit."""
    for number, edit in enumerate(edits, start=1):
        lines = source.splitlines(keepends=True)
        if not edit.old.strip():
            if source.strip():
                return Complaint("empty_search", f"SEARCH block {number} is empty. Quote the lines that are to be replaced.")
            source = edit.new
            continue
        old = edit.old.splitlines(keepends=True)
        place = _place(lines, old, number)
        part = edit.old.strip("\n")
        if place is None and len(part.strip()) >= LEAST_PART and source.count(part) == 1:
            source = source.replace(part, edit.new.strip("\n"), 1)
            continue
        place = place or _nearest(lines, old, number)
        if isinstance(place, Complaint):
            return place
        start, end = place
        new = _reindented(edit, "".join(lines[start:end]))
        source = "".join(lines[:start]) + new + "".join(lines[end:])
    return source


def _place(lines: list[str], old: list[str], number: int) -> tuple[int, int] | Complaint | None:
    """The lines (start, end) that a SEARCH block quotes whole; None when there are none."""
    while old and not old[0].strip():
        old = old[1:]
    while old and not old[-1].strip():
        old = old[:-1]
    for same in (lambda text: text.rstrip("\n"), lambda text: text.rstrip(), lambda text: " ".join(text.split())):
        wanted, have = [same(line) for line in old], [same(line) for line in lines]
        found = [
            start
            for start in range(len(have) - len(wanted) + 1)
            if have[start] == wanted[0] and have[start : start + len(wanted)] == wanted
        ]
        if len(found) == 1:
            return found[0], found[0] + len(old)
        if found:
            at = ", ".join(str(start + 1) for start in found[:5])
            return Complaint(
                "ambiguous_search",
                f"SEARCH block {number} fits {len(found)} places (lines {at}). Quote more lines around the one you mean.",
            )
    return None


def _nearest(lines: list[str], old: list[str], number: int) -> tuple[int, int] | Complaint:
    """The one place that nearly fits; else what stands where the block comes closest."""
    text = "".join(old)
    scored: list[tuple[float, int, int]] = []
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(text)
    for size in {len(old), len(old) - 1, len(old) + 1}:
        for start in range(0, len(lines) - size + 1 if size > 0 else 0):
            matcher.set_seq1("".join(lines[start : start + size]))
            if matcher.real_quick_ratio() > 0.5 and matcher.quick_ratio() > 0.5:
                scored.append((matcher.ratio(), start, start + size))
    scored.sort(key=lambda place: -place[0])
    if scored:
        best, start, end = scored[0]
        other = next((score for score, s, e in scored if e <= start or s >= end), 0.0)
        if best >= ALIKE and best - other >= CLEARLY:
            return start, end
        near = "".join(lines[start:end]).rstrip("\n")
        return Complaint(
            "search_not_found",
            f"SEARCH block {number} does not occur in the kernel. It begins with:\n{old[0].rstrip()}\n"
            f"The nearest place, line {start + 1}, reads:\n{near}\nCopy the lines exactly as they stand in the kernel.",
        )
    return Complaint(
        "search_not_found",
        f"SEARCH block {number} does not occur in the kernel. It begins with:\n{old[0].rstrip() if old else ''}\n"
        "Copy the lines exactly as they stand in the kernel.",
    )


def _reindented(edit: Edit, found: str) -> str:
    """The replacement, moved to where the source is indented when the block was quoted without its indentation."""
    quoted, real = _indent(edit.old), _indent(found)
    new = edit.new if edit.new.endswith("\n") or not edit.new else edit.new + "\n"
    if quoted == real or not real.startswith(quoted) or _indent(new).startswith(real):
        return new
    more = real[len(quoted) :]
    return "".join(more + line if line.strip() else line for line in new.splitlines(keepends=True))


def _indent(text: str) -> str:
    first = next((line for line in text.splitlines() if line.strip()), "")
    return first[: len(first) - len(first.lstrip())]
