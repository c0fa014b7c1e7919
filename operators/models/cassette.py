"""Answers kept on disk: a cache that saves money, a recording that makes a run repeatable without a network.

One JSON line an answer, appended whole. The key is what was asked (model, conversation, parameters) and how many times the
same was asked before, so a repeated question has a second answer. A line that was cut short by a crash is passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from pathlib import Path

from operators.models.call import Conversation, ModelError, ModelFailure, Reply, digest
from operators.models.spec import ModelSpec

__all__ = ["Cassette"]

KEPT = ("model", "tokens_in", "tokens_out", "dollars", "seconds", "finish")


class Cassette:
    """Answers by question.

    Args:
        path: a `.jsonl` file; made when the first answer is kept.
        replay: never ask a model: a question without an answer is an error.
    """

    def __init__(self, path: Path, *, replay: bool = False) -> None:
        self.path = path
        self.replay = replay
        self._answers: dict[str, Reply | ModelFailure] = {}
        self._asked: Counter[str] = Counter()
        if path.exists():
            self._read()
        elif replay:
            raise ModelError(
                "There is no recording to replay.", key="llm.cassette", found=f"no file {path}", remedy="Record one: llm.mode=record."
            )

    def ask(self, spec: ModelSpec, conversation: Conversation) -> tuple[str, Reply | ModelFailure | None]:
        """The question's key and the answer (or the failure) kept for it, if any.

        Raises:
            ModelError: in replay, when there is none.
        """
        question = f"{spec.name}/{digest(conversation)}/{_parameters(spec)}"
        key = f"{question}/{self._asked[question]}"
        self._asked[question] += 1
        found = self._answers.get(key)
        if found is None and self.replay:
            raise ModelError(
                "The recording holds no answer to this question.", key="llm.cassette", found=key, expected=f"a line in {self.path}",
                remedy="Replay with the config, seed and version of evo that it was recorded with.",
            )  # fmt: skip
        return key, found

    def keep(self, key: str, outcome: Reply | ModelFailure) -> None:
        """Appends an answer, or that there was none: a replay fails where the recording failed."""
        self._answers[key] = outcome
        if isinstance(outcome, ModelFailure):
            line: dict[str, object] = {"key": key, "failure": outcome.reason, "message": str(outcome), "dollars": outcome.dollars}
        else:
            line = {"key": key, "answer": outcome.text, **{name: getattr(outcome, name) for name in KEPT}}
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def _read(self) -> None:
        for text in self.path.read_bytes().splitlines():
            try:
                line = json.loads(text)
                if "failure" in line:
                    self._answers[line["key"]] = ModelFailure(line["failure"], line["message"], dollars=line["dollars"])
                    continue
                self._answers[line["key"]] = Reply(text=line["answer"], requests=0, **{name: line[name] for name in KEPT})
            except (ValueError, KeyError, TypeError):
                continue


def _parameters(spec: ModelSpec) -> str:
    text = json.dumps([spec.max_tokens, spec.temperature, dict(spec.options)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
