"""Descriptors: where a measured profile falls, what happens outside the range, and what a config may say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.descriptors import Axis, Bins, Categorical, DescriptorError, Descriptors, Log2, default_descriptors, parse_descriptors
from archive.kernel import Kernel


def test_a_categorical_axis_has_a_bin_per_value_and_one_for_the_rest() -> None:
    axis = Categorical("v", "vector_bits", values=(0, 128, 256))
    assert [axis.bin(v) for v in (0, 128, 256, 512)] == [0, 1, 2, 3]
    assert axis.labels == ("0", "128", "256", "other")


def test_categories_tell_true_from_one_and_text_from_number() -> None:
    axis = Categorical("v", "f", values=(True, "1"), out_of_range="drop")
    assert (axis.bin(True), axis.bin("1"), axis.bin(1), axis.bin(False)) == (0, 1, None, None)
    assert Categorical("v", "f", values=(256,)).bin(256.0) == 0


def test_the_cells_of_true_and_one_are_not_confused_by_remembered_bins() -> None:
    descriptors = Descriptors([Categorical("v", "f", values=(1, True))])
    assert [descriptors.cell({"f": v}) for v in (1, True, 1.0, True)] == [(0,), (1,), (0,), (1,)]


def test_log2_bins_are_octaves_from_low_to_the_one_that_holds_high() -> None:
    axis = Log2("tile", "tile", 1, 16)
    assert [axis.bin(v) for v in (1, 1.99, 2, 3, 4, 8, 16, 31)] == [0, 0, 1, 1, 2, 3, 4, 4]
    assert axis.labels == ("1", "2", "4", "8", "16")


def test_log2_bins_may_span_several_octaves() -> None:
    axis = Log2("ws", "ws", 1024, 1 << 25, step=5)
    assert [axis.bin(v) for v in (1024, 32767, 32768, 1 << 20, 1 << 25)] == [0, 0, 1, 2, 3]
    assert axis.labels == ("1K…", "32K…", "1M…", "32M…")


@given(st.integers(0, 40), st.integers(1, 6), st.integers(-50, 90))
def test_powers_of_two_never_fall_beside_their_bin(low: int, step: int, exponent: int) -> None:
    axis = Log2("x", "x", 2.0**low, 2.0 ** (low + 30), step, out_of_range="drop")
    expected = (exponent - low) // step
    assert axis.bin(2.0**exponent) == (expected if 0 <= expected < len(axis.labels) else None)


def test_explicit_bins_are_half_open_and_the_last_one_is_closed() -> None:
    axis = Bins("u", "u", edges=(1, 4, 16))
    assert [axis.bin(v) for v in (1, 3.99, 4, 16)] == [0, 0, 1, 1]
    assert axis.labels == ("1…4", "4…16")


@pytest.mark.parametrize("make", [lambda p: Log2("x", "x", 4, 16, out_of_range=p), lambda p: Bins("x", "x", (4, 8, 20), out_of_range=p)])
def test_values_outside_are_clipped_dropped_or_binned_apart_as_stated(make: type[Axis]) -> None:
    clip, drop, other = make("clip"), make("drop"), make("other")
    last = len(clip.labels) - 1
    assert (clip.bin(-1), clip.bin(0), clip.bin(1e9), clip.bin(math.inf)) == (0, 0, last, last)
    assert (drop.bin(1), drop.bin(1e9)) == (None, None)
    assert (other.bin(1), other.bin(1e9)) == (last + 1, last + 1)


@pytest.mark.parametrize("value", [None, "text", True, math.nan])
def test_what_is_no_number_has_no_nearest_bin(value: str | None) -> None:
    for policy, expected in (("clip", None), ("drop", None), ("other", 3)):
        assert Log2("x", "x", 4, 16, out_of_range=policy).bin(value) == expected


def test_a_cell_is_a_bin_per_axis_and_any_axis_may_drop_it() -> None:
    descriptors = Descriptors([Log2("a", "tile", 1, 8), Categorical("b", "nt", values=(False, True), out_of_range="drop")])
    assert descriptors.shape == (4, 2) and descriptors.size == 8
    assert descriptors.cell({"tile": 2, "nt": True}) == (1, 1)
    assert descriptors.cell({"tile": 2}) is None
    assert descriptors.label((1, 1)) == {"a": "2", "b": "True"}


def test_a_field_may_be_a_tunable_of_the_kernel() -> None:
    kernel = Kernel("cpp", "#define UNROLL 4  // evo: {1, 2, 4, 8}\n")
    descriptors = Descriptors([Log2("u", "tunable.UNROLL", 1, 8)])
    assert descriptors.cell({}, kernel.values) == (2,)
    assert descriptors.cell({"tunable.UNROLL": 8}, kernel.values) == (3,)
    assert descriptors.cell({}, {}) is None


def test_a_config_is_read_back_as_it_was_written() -> None:
    entries = [
        {"name": "v", "kind": "categorical", "field": "vector_bits", "values": [0, 128], "out_of_range": "drop"},
        {"name": "t", "kind": "log2", "low": 1, "high": 64, "step": 2},
        {"name": "u", "kind": "bins", "field": "tunable.U", "edges": [1, 2, 8], "out_of_range": "other"},
    ]
    descriptors = parse_descriptors(entries)
    assert descriptors.axes[1].field == "t"
    assert parse_descriptors(descriptors.config()) == descriptors


LOG2 = {"name": "t", "kind": "log2", "low": 1, "high": 64}


@pytest.mark.parametrize(
    ("entries", "where", "named"),
    [
        ([], "descriptors", "list of axes"),
        ({"name": "t"}, "descriptors", "list of axes"),
        (["tile"], "descriptors[0]", "mapping"),
        ([LOG2, {**LOG2, "name": "u", "kind": "octaves"}], "descriptors[1].kind", "categorical or log2 or bins"),
        ([{**LOG2, "hihg": 3}], "descriptors[0].hihg", "out_of_range"),
        ([{"name": "t", "kind": "log2", "low": 1}], "descriptors[0].high", "value for high"),
        ([{**LOG2, "low": "one"}], "low, high", "0 < low"),
        ([{**LOG2, "low": 0}], "low, high", "0 < low"),
        ([{**LOG2, "high": 0.5}], "low, high", "0 < low"),
        ([{**LOG2, "step": 0}], "step", "octaves"),
        ([{**LOG2, "out_of_range": "wrap"}], "out_of_range", "clip or drop or other"),
        ([{**LOG2, "name": 3}], "descriptors[0].name", "string"),
        ([{"name": "c", "kind": "categorical", "values": [1, 1]}], "values", "distinct"),
        ([{"name": "c", "kind": "categorical", "values": []}], "values", "distinct"),
        ([{"name": "c", "kind": "categorical", "values": [1], "out_of_range": "clip"}], "out_of_range", "drop or other"),
        ([{"name": "b", "kind": "bins", "edges": [3, 1]}], "edges", "ascending"),
        ([{"name": "b", "kind": "bins", "edges": [1]}], "edges", "ascending"),
        ([{"name": "b", "kind": "bins", "edges": "1, 2"}], "descriptors[0].edges", "list"),
        ([LOG2, LOG2], "descriptors", "name of its own"),
    ],
)
def test_a_malformed_config_is_an_error_that_names_the_key_and_what_was_expected(entries: object, where: str, named: str) -> None:
    with pytest.raises(DescriptorError) as caught:
        parse_descriptors(entries)
    assert where in caught.value.where
    assert named in caught.value.expected
    assert caught.value.remedy and caught.value.found


def test_the_defaults_for_cpp_place_a_plain_profile() -> None:
    descriptors = default_descriptors("cpp")
    profile = {"vector_bits": 256, "memory_pattern": "streaming", "tile_elements": 4096}
    assert descriptors.cell(profile) == (2, 3, 3)
    assert descriptors.size == 100


def test_a_recorded_space_is_described_by_its_two_widest_tunables() -> None:
    domain = ", ".join(str(i) for i in range(1, 21))
    kernel = Kernel("tabular", f"A = 1  # evo: {{1, 2}}\nB = 1  # evo: {{{domain}}}\nC = 4  # evo: {{1, 2, 4}}\n")
    descriptors = default_descriptors("tabular", kernel.space)
    assert descriptors.names == ("B", "C")
    assert descriptors.shape == (8, 3)
    cells = {descriptors.cell({}, {"B": b, "C": 1}) for b in range(1, 21)}
    assert len(cells) == 8 and None not in cells


def test_a_target_without_axes_of_its_own_asks_for_them() -> None:
    with pytest.raises(DescriptorError, match="descriptors"):
        default_descriptors("tabular")


def test_the_embedding_keeps_order_and_puts_categories_at_equal_distances() -> None:
    descriptors = Descriptors([Log2("t", "t", 1, 8), Categorical("c", "c", values=("a", "b", "z"), out_of_range="drop")])
    places = [descriptors.embed({"t": t, "c": "a"}) for t in (1, 1.5, 2, 8, 15)]
    assert [p[0] for p in places if p] == sorted(p[0] for p in places if p)
    one_hot = [np.array(descriptors.embed({"t": 1, "c": c})) for c in "abz"]
    assert np.linalg.norm(one_hot[0] - one_hot[1]) == pytest.approx(1.0) == np.linalg.norm(one_hot[0] - one_hot[2])
    assert descriptors.embed({"t": 1, "c": "nothing"}) is None


def test_random_points_of_the_embedding_lie_where_profiles_lie() -> None:
    descriptors = Descriptors([Log2("t", "t", 1, 8), Categorical("c", "c", values=("a", "b"))])
    points = descriptors.random_points(np.random.default_rng(0), 500)
    assert points.shape == (500, 4)
    assert points.min() >= 0.0 and points.max() <= 1.0
    assert len(np.unique(points[:, 1:], axis=0)) == 3


def test_the_default_axis_of_memory_patterns_has_a_bin_for_each_that_the_disassembly_tells_apart() -> None:
    from fitness.targets.instruction_mix import MEMORY_PATTERNS

    assert default_descriptors("cpp").axes[1].labels == MEMORY_PATTERNS
