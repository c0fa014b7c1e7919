"""Prompts, what they retrieve and tell, and the wordings that are bred."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from operators.bandit import UCB, Thompson, Weights, chooser
from operators.base import OperatorError
from operators.population import Population, Variant
from operators.prompt import FOLDER, Library
from operators.retrieve import Knowledge, read_notes

TEMPLATE = """=== system
You are {{ who }}.
=== long drop 2
{{ "long " * 300 }}
=== first drop 1
{{ "first " * 300 }}
=== advice drop 3 evolvable
Be quick.
=== task
Do it.
"""


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "own.j2").write_text(TEMPLATE)
    return Library(tmp_path, tokens=24_000)


# ── templates ──


def test_sections_become_messages_and_variants_replace_evolvable_ones(library: Library) -> None:
    prompt = library.render("own", {"who": "swift"}, {"advice": "Be {{ careful }}.", "task": "ignored"})
    assert [message.role for message in prompt.conversation] == ["system", "user"]
    assert prompt.conversation[0].text == "You are swift." and "Be {{ careful }}." in str(prompt) and "Do it." in str(prompt)
    assert prompt.dropped == () and not prompt.too_long


@pytest.mark.parametrize(
    ("tokens", "dropped", "too_long"),
    [
        (2000, (), False),
        (600, ("first",), False),
        (100, ("first", "long"), False),
        (8, ("first", "long", "advice"), False),
        (3, ("first", "long", "advice"), True),
    ],
)
def test_what_does_not_fit_is_dropped_in_the_stated_order(library: Library, tokens: int, dropped: tuple[str, ...], too_long: bool) -> None:
    library.tokens = tokens
    prompt = library.render("own", {"who": "swift"})
    assert (prompt.dropped, prompt.too_long) == (dropped, too_long)
    assert "Do it." in str(prompt)


def test_mistakes_in_templates_are_named(library: Library, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"own\.j2, section system.*'who' is undefined"):
        library.render("own", {})
    (tmp_path / "bare.j2").write_text("no section at all")
    with pytest.raises(OperatorError, match="found no section"):
        library.render("bare", {})
    with pytest.raises(OperatorError, match=r"no template `none\.j2`, expected one of .*mutate"):
        library.render("none", {})


def test_a_users_template_replaces_the_one_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "correction.j2").write_text("=== only\nNo: {{ complaint }}\n")
    assert str(Library(tmp_path).render("correction", {"complaint": "x"})) == "[user]\nNo: x"


def test_every_shipped_operator_template_has_an_evolvable_section_and_a_format() -> None:
    library = Library()
    for name in ("mutate", "crossover", "repair", "seed", "expose", "universal"):
        names = [section.name for section in library.sections(name)]
        assert {"system", "format", "goal"} <= set(names) and [section.name for section in library.evolvable(name)] == ["advice"]
    assert FOLDER.is_dir()


# ── knowledge ──


@pytest.fixture(scope="module")
def knowledge() -> Knowledge:
    return Knowledge()


@pytest.mark.parametrize(
    ("question", "target", "title"),
    [
        ("memory bandwidth: stores read lines first", "cpp", "Streaming stores"),
        ("calls of library functions (expf) in the inner loops", "cpp", "keeps a loop"),
        ("output not written: partly written last tile", "cpp", "not_written"),
        ("warp specialisation of tensor cores", "cuda", "wgmma"),
        ("matrix cores MFMA tile", "hip", "MFMA"),
        ("num_warps for long rows", "triton", "Triton"),
        ("layout of a tiled copy", "cute", "CuTe"),
    ],
)
def test_notes_are_found_by_bottleneck_and_diagnostic(knowledge: Knowledge, question: str, target: str, title: str) -> None:
    found = knowledge.search(question, target=target)
    assert any(title in passage.title for passage in found)
    assert all(target in passage.targets for passage in found)


@pytest.mark.parametrize("question", ["", "the and", '"', "a OR (", "NEAR/3 *", "x" * 5000])
def test_no_question_is_a_syntax_error(knowledge: Knowledge, question: str) -> None:
    assert isinstance(knowledge.search(question), list)


def test_a_users_notes_are_added_and_malformed_ones_named(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text("---\ntitle: Zebra stripes\ntarget: [cpp]\n---\nStripe the zebra.\n")
    assert Knowledge([tmp_path]).search("zebra")[0].title == "Zebra stripes"
    (tmp_path / "mine.md").write_text("---\ntitel: x\n---\ny\n")
    with pytest.raises(OperatorError, match=r"mine\.md.*no title"):
        list(read_notes([tmp_path]))
    with pytest.raises(OperatorError, match="found no folder"):
        list(read_notes([tmp_path / "none"]))


# ── bandits and wordings ──


@pytest.mark.parametrize("kind", [UCB, Thompson])
def test_bandits_find_the_arm_that_earns_most_per_cost_and_try_every_arm(kind: type[UCB] | type[Thompson]) -> None:
    made, rng, chosen = kind({"good": 1.0, "dear": 1.0, "bad": 1.0}), random.Random(3), []
    for _ in range(600):
        arm = made.choose(rng)
        chosen.append(arm)
        earned = {"good": 0.2, "dear": 0.3, "bad": 0.02}[arm] * (rng.random() < 0.5)
        made.learn(arm, earned, 10.0 if arm == "dear" else 1.0)
    assert set(chosen[:3]) == {"good", "dear", "bad"} and chosen[300:].count("good") > 200


def test_choices_need_a_weight_and_a_known_kind() -> None:
    with pytest.raises(OperatorError, match="no positive weight"):
        Weights({"a": 0.0})
    with pytest.raises(OperatorError, match="expected one of weights, ucb, thompson"):
        chooser("greedy", {"a": 1.0})


def test_wordings_that_help_are_chosen_more_and_the_worst_makes_room() -> None:
    population, rng = Population(size=3), random.Random(1)
    good, bad = Variant("llm_mutate", "advice", "Think of bytes."), Variant("llm_mutate", "advice", "Think of nothing.")
    assert population.add(good) and population.add(bad) and not population.add(good)
    for _ in range(300):
        chosen = population.choose("llm_mutate", ["advice"], rng).get("advice")
        used = "original" if chosen is None else chosen.id
        population.learn("llm_mutate", "advice", used, 0.1 if used == good.id else 0.01)
    assert population.scores("llm_mutate", "advice")[0][0] == good
    population.add(Variant("llm_mutate", "advice", "Something new."))
    assert bad not in [variant for variant, _, _ in population.scores("llm_mutate", "advice")]


def test_a_wording_survives_the_lineage() -> None:
    variant = Variant("llm_mutate", "advice", "Two lines:\n--- of it.", "original")
    assert Variant.load(variant.dump()) == variant and Variant.load("[user]\nHello") is None
