"""The config schema: what it accepts, and that every mistake is told with file, line, key, found, expected and remedy."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from evo.config import Config, EvaluationSection, describe, load_config, parse_config
from evo.errors import UserError, as_user_error
from fitness.protocol import EvaluationSettings

MINIMAL = "problem: softmax\nbudget: {minutes: 1}\n"


@pytest.fixture
def load(tmp_path: Path):
    def load(text: str, *overrides: str) -> Config:
        path = tmp_path / "experiment.yaml"
        path.write_text(text)
        return load_config(path, overrides)

    return load


def refusal(load, text: str, *overrides: str) -> UserError:
    with pytest.raises(UserError) as caught:
        load(text, *overrides)
    assert caught.value.exit_code == 2
    return caught.value


def test_a_minimal_config_takes_its_name_from_the_file_and_everything_else_from_defaults(load) -> None:
    config = load(MINIMAL)
    assert config.name == "experiment"
    assert config.target.name == "cpp"
    assert config.strategy.name == "auto"
    assert config.evaluation.remeasure == 0.05


def test_a_dumped_config_reads_back_equal(load) -> None:
    config = load(
        MINIMAL
        + "seed: 7\nstrategy: {name: map_elites, greed: 0.25}\noperators: {sample: 1, crossover: 2.5}\n"
        + "archive: {descriptors: [{name: t, field: tunable.T, kind: log2, low: 1, high: 64}]}\nevaluation: {cache: /var/tmp/x}\n"
    )
    assert parse_config(yaml.safe_load(config.dump())) == config


def test_every_field_of_the_evaluation_settings_can_be_configured(load) -> None:
    fields = {field.name for field in dataclasses.fields(EvaluationSettings)}
    assert fields == (set(EvaluationSection.model_fields) - {"remeasure"}) | {"compiler", "threads", "architecture"}
    settings = load(MINIMAL, "target.threads=2", "target.compiler=clang++", "evaluation.repetitions=4", "evaluation.cache=/x").settings()
    assert settings == EvaluationSettings(compiler="clang++", threads=2, repetitions=4, cache=Path("/x"))


def test_defaults_of_the_evaluation_section_are_those_of_the_evaluator(load) -> None:
    assert load(MINIMAL).settings() == EvaluationSettings()


def test_overrides_are_yaml_and_win_over_the_file(load) -> None:
    config = load(
        MINIMAL, "budget.minutes=2", "budget.stall=50", "deterministic=true", "operators={sample: 1}", "evaluation.precision=1e-3"
    )
    assert (config.budget.minutes, config.budget.stall, config.deterministic) == (2.0, 50, True)
    assert config.operators == {"sample": 1.0}
    assert config.evaluation.precision == 0.001


def test_an_override_can_reach_into_a_section_given_by_name(load) -> None:
    config = load(MINIMAL + "strategy: map_elites\n", "strategy.greed=0.1")
    assert (config.strategy.name, config.strategy.parameters) == ("map_elites", {"greed": 0.1})


def test_null_takes_a_limit_away(load) -> None:
    assert load("problem: x\nbudget: {minutes: 1, evaluations: 5}\n", "budget.minutes=null").budget.minutes is None


def test_a_problem_path_is_relative_to_the_config_and_a_name_is_left_alone(load, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert load("problem: ./mine\nbudget: {minutes: 1}\n").problem == str(tmp_path / "mine")
    assert load("problem: mine\nbudget: {minutes: 1}\n").problem == "mine"


@pytest.mark.parametrize(
    ("text", "line", "key", "said"),
    [
        ("problem: softmax\nbuget: {minutes: 1}\n", 2, "buget", "Did you mean `budget`?"),
        ("problem: softmax\nbudget:\n  minuets: 1\n", 3, "budget.minuets", "Did you mean `minutes`?"),
        (MINIMAL + "evaluation:\n  threads: 2\n", 4, "evaluation.threads", "Did you mean `target.threads`?"),
        (MINIMAL + "quite_unlike_anything: 2\n", 3, "quite_unlike_anything", "Remove it."),
        ("problem: softmax\nbudget:\n  minutes: '1'\n", 3, "budget.minutes", "a number"),
        ("problem: softmax\nbudget:\n  evaluations: 1.5\n", 3, "budget.evaluations", "a whole number"),
        ("problem: softmax\nbudget:\n  evaluations: 0\n", 3, "budget.evaluations", "greater than or equal to 1"),
        ("problem: softmax\nbudget:\n  minutes: .inf\n", 3, "budget.minutes", "finite"),
        ("problem: softmax\nbudget:\n  minutes: .nan\n", 3, "budget.minutes", "budget.minutes"),
        (MINIMAL + "deterministic: 1\n", 3, "deterministic", "true or false"),
        (MINIMAL + "name: 'a/b'\n", 3, "name", "pattern"),
        (MINIMAL + "executor: ray\n", 3, "executor", "'local' or 'inline'"),
        (MINIMAL + "operators: {sample: -1}\n", 3, "operators.sample", "greater than or equal to 0"),
        (MINIMAL + "operators: {sample: 0}\n", 3, "operators", "above 0"),
        (MINIMAL + "evaluation: {sandbox: maybe}\n", 3, "evaluation.sandbox", "pattern"),
        (MINIMAL + "strategy: [random]\n", 3, "strategy", "strategy"),
        ("problem: softmax\nbudget: {}\n", 2, "budget", "has to limit the run"),
        ("budget: {minutes: 1}\n", None, "problem", "Add it: a problem's name"),
        ("problem: softmax\nproblem: matmul\nbudget: {minutes: 1}\n", 2, "problem", "first on line 1"),
        ("problem: softmax\nbudget: {minutes: 1, minutes: 2}\n", 2, "budget.minutes", "Keep one"),
        ("problem: softmax\nbudget:\n\tminutes: 1\n", 3, None, "spaces for indentation"),
        ("problem: [softmax\nbudget: {minutes: 1}\n", 2, None, "Check indentation"),
        ("problem: &a [*a]\nbudget: {minutes: 1}\n", 1, None, "contains"),
        ("? [a, b]\n: 1\n", 1, None, "plain text"),
        ("", None, None, "empty"),
        ("# only a comment\n", None, None, "empty"),
        ("- a\n- b\n", 1, None, "a list"),
        ("problem: !!python/object/apply:os.system [true]\n", 1, None, "could not determine a constructor"),
    ],
)
def test_a_mistake_is_told_with_its_place(load, tmp_path: Path, text: str, line: int | None, key: str | None, said: str) -> None:
    error = refusal(load, text)
    assert error.file == tmp_path / "experiment.yaml"
    assert error.line == line
    assert error.key == key
    assert said in str(error)


def test_several_mistakes_are_counted_and_the_unknown_key_comes_first(load) -> None:
    error = refusal(load, "problem: softmax\nbudget: {minuts: 1}\nseed: -1\n")
    assert error.key == "budget.minuts"
    assert "seed" in error.what


@pytest.mark.parametrize("override", ["budget.minutes", "=3", "budget..minutes=1", ".a=1"])
def test_an_override_that_is_no_assignment_is_refused(load, override: str) -> None:
    assert "KEY.KEY=VALUE" in str(refusal(load, MINIMAL, override))


def test_an_override_through_a_value_is_refused(load) -> None:
    assert refusal(load, MINIMAL, "budget.minutes.x=1").expected == "a section"


def test_an_override_with_an_unknown_key_names_the_key_and_no_line(load) -> None:
    error = refusal(load, MINIMAL, "budget.minuts=1")
    assert (error.key, error.found) == ("budget.minuts", "1 (from --set)")
    assert error.file is None


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00problem")
    with pytest.raises(UserError, match="UTF-8"):
        load_config(tmp_path / "binary.yaml")


def test_every_key_is_described() -> None:
    described = describe()
    assert {"problem", "budget.minutes", "evaluation.call_timeout", "executor.builders"} <= {key for key, _, _ in described}
    assert all(text for _, _, text in described)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "problem", "budget", "minutes", "seed", "x"]), inner)
        ),
        max_leaves=10,
    )
)
def test_whatever_is_given_is_a_config_or_a_told_mistake(values: object) -> None:
    try:
        parse_config({"problem": "x", "budget": {"minutes": 1}, **(values if isinstance(values, dict) else {"archive": values})})
    except UserError as error:
        assert error.key


def test_errors_of_lower_floors_become_told_mistakes_and_defects_do_not() -> None:
    from archive.lineage import LineageError
    from archive.values import TunableError

    told = as_user_error(LineageError("the run is in use", path=Path("/r/run.db"), found="process 3", remedy="Wait."))
    assert told is not None
    assert (told.file, told.found, told.remedy) == (Path("/r/run.db"), "process 3", "Wait.")
    assert as_user_error(TunableError("bad", file="k.cpp", found="x", expected="y")) is not None
    assert as_user_error(KeyError("x")) is None
