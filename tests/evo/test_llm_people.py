"""People and agents in the place of a model: proposals as files, answers in any order, again and again, elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import doubling
import pytest
import yaml
from instant_runs import finished

from evo.cli import main
from evo.llm.mcp import Tools

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run whose seed was evaluated and three proposals asked, before any answer."""
    folder = tmp_path_factory.mktemp("people")
    config = folder / "doubling.yaml"
    config.write_text(yaml.safe_dump(doubling.config(doubling.make_problem(folder))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVO_RUNS", str(folder / "runs"))
        assert main(["ask", str(config), "-n", "3", "-o", str(folder / "proposals")]) == 0
    return folder


@pytest.fixture
def people(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it: another machine, as far as the run can tell."""
    shutil.copytree(begun / "runs", tmp_path / "runs")
    shutil.copytree(begun / "proposals", tmp_path / "proposals")
    monkeypatch.setenv("EVO_RUNS", str(tmp_path / "runs"))
    return tmp_path


def proposals(people: Path) -> list[Path]:
    return sorted((people / "proposals").iterdir())


def run_of(people: Path) -> Path:
    (run,) = (people / "runs").iterdir()
    return run


def tell(people: Path, capsys: pytest.CaptureFixture[str], *more: str) -> list[dict[str, object]]:
    capsys.readouterr()
    assert main(["tell", "last", str(people / "proposals"), "--json", *more]) == 0
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def test_a_proposal_says_everything_that_is_needed_to_answer_it(begun: Path) -> None:
    for folder in sorted((begun / "proposals").iterdir()):
        text = (folder / "PROMPT.md").read_text()
        assert all(word in text for word in ("Twice x plus one", 'extern "C" void kernel', "volatile", "answer.md", "evo tell"))
        assert (folder / "parent.cpp").read_text() == doubling.SEED


def test_answers_are_told_in_any_order_and_say_what_came_of_them(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(people, capsys) == []
    first, second, third = proposals(people)
    (third / "answer.md").write_text(f"It vectorises now.\n```cpp\n{doubling.GOOD}```\n")
    (told,) = tell(people, capsys, "--by", "ada")
    assert told["result"] == "ok" and told["proposal"] == third.name
    (first / "kernel.cpp").write_text(doubling.WRONG)
    (second / "answer.md").write_text("I would unroll it.")
    again = {str(one["proposal"]): one for one in tell(people, capsys)}
    assert again[first.name]["result"] == "wrong" and "expected" in str(again[first.name]["diagnostics"])
    assert again[second.name]["result"] == "not evaluated" and "no_code" in str(again[second.name]["message"])
    assert "evaluated before" in str(again[third.name]["message"])
    (first / "kernel.cpp").write_text(doubling.GOOD + "// better\n")  # another answer to the same proposal
    assert any(one["result"] == "ok" and one["candidate"] == 4 for one in tell(people, capsys))
    made = {c.number: c for c in finished(run_of(people)) if c.proposal.operator == "asked"}
    assert sorted(made) == [1, 3, 4] and made[3].notes["model"] == "ada" and made[4].proposal.parents == (0,)
    assert main(["costs", "last"]) == 0 and "asked" in capsys.readouterr().out


def test_an_answer_to_a_proposal_of_another_copy_becomes_a_new_one(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = proposals(people)[0]
    sheet = json.loads((folder / "proposal.json").read_text())
    (folder / "proposal.json").write_text(json.dumps({**sheet, "created": "elsewhere", "number": 77, "parents": [9]}))
    (folder / "answer.md").write_text(f"```cpp\n{doubling.GOOD}```\n")
    (told,) = tell(people, capsys)
    assert told["candidate"] == 4 and told["result"] == "ok"
    assert next(c for c in finished(run_of(people)) if c.number == 4).proposal.parents == (0,)


def test_what_cannot_be_told_is_an_error_with_a_remedy(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tell", "last", str(people)]) == 2
    assert "evo ask RUN -o DIR" in capsys.readouterr().err
    (proposals(people)[0] / "proposal.json").write_text("{}")
    assert main(["tell", "last", str(people / "proposals")]) == 2
    assert "proposal.json" in capsys.readouterr().err


def test_prompt_prints_what_would_be_sent(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for operator in ("llm_mutate", "llm_seed", "llm_expose", "llm_universal"):
        assert main(["prompt", "last", "--operator", operator]) == 0
        shown = capsys.readouterr()
        assert "Twice x plus one" in shown.out and "tokens" in shown.err
    assert main(["prompt", "last", "--operator", "mutate_many"]) == 2
    assert "llm_mutate" in capsys.readouterr().err
    assert main(["prompt", "last", "--parent", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parents"] == [0]


def test_an_agent_drives_the_run_through_the_tools_of_the_server(people: Path) -> None:
    tools = Tools(run_of(people))
    asked = tools.get_proposal()
    assert "Twice x plus one" in asked["prompt"]
    told = tools.submit_kernel(asked["proposal"], doubling.GOOD)
    assert told["result"] == "ok"
    assert tools.best()["source"] == doubling.GOOD and tools.candidate(0)["operator"] == "seed"
    assert len(tools.archive()) >= 1 and "error" in tools.submit_kernel("no such", "x")


def test_without_the_package_the_server_says_how_to_get_it(
    people: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mcp", None)
    assert main(["mcp", "last"]) == 2
    assert "[mcp]" in capsys.readouterr().err


def test_distilled_lessons_are_found_by_later_searches(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = proposals(people)[0]
    (folder / "answer.md").write_text(f"No volatile any more.\n```cpp\n{doubling.GOOD}```\n")
    (proposals(people)[1] / "kernel.cpp").write_text(doubling.WRONG)
    tell(people, capsys)
    notes = people / "notes"
    assert main(["distill", "last", "-o", str(notes)]) == 0
    (note,) = notes.glob("*.md")
    assert "What gained" in note.read_text() and "What failed" in note.read_text()
    assert main(["knowledge", "search", "doubling", "gained", "--folder", str(notes), "--target", "cpp"]) == 0
    assert "learned from a run" in capsys.readouterr().out
