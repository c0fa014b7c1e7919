"""The referee's C passes against what NumPy says, and the building of the library."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitness.native import NativeError, build, library
from fitness.native.library import poison_word

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "bool"]


def unaligned(shape, dtype, offset, rng):
    """An array that begins `offset` elements past an allocation, filled with random bytes."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape)) + offset
    return rng.integers(0, 256, count * dtype.itemsize, dtype=np.uint8).view(dtype)[offset:].reshape(shape)


@given(st.integers(0, 700), st.integers(0, 40), st.integers(0, 40), st.sampled_from(DTYPES))
def test_a_copy_holds_the_same_bytes_and_touches_nothing_beside_it(count, to, start, dtype):
    rng = np.random.default_rng(count)
    source = unaligned((count,), dtype, start, rng)
    around = unaligned((count + 64,), dtype, to, rng)
    before = around.copy()
    library().copy(around[:count], source)
    assert around[:count].tobytes() == source.tobytes()
    assert around[count:].tobytes() == before[count:].tobytes()


@given(st.integers(1, 700), st.integers(0, 40), st.sampled_from(DTYPES))
def test_poison_fills_exactly_the_array_and_is_counted(count, offset, dtype):
    around = unaligned((count + 64,), dtype, offset, np.random.default_rng(count))
    before = around.tobytes()
    array = around[:count]
    library().poison(array)
    assert library().poisoned(array) == count
    assert around.tobytes()[array.nbytes :] == before[array.nbytes :]
    assert np.isnan(array).all() if array.dtype.kind == "f" else True
    array[count // 2] = 1
    assert library().poisoned(array) == count - 1


def test_the_poison_of_floats_is_no_nan_that_arithmetic_makes():
    with np.errstate(all="ignore"):
        made = np.float32(0) / np.zeros(4, np.float32)
    assert not {int(bits) & 0x7FFFFFFF for bits in made.view(np.uint32)} & {poison_word(np.dtype(np.float32))}


@given(st.integers(1, 300), st.integers(0, 2**64 - 1), st.data())
def test_a_guard_zone_tells_the_first_byte_that_changed(length, key, data):
    zone = np.zeros(length, np.uint8)
    library().fill_guard(zone, key)
    assert library().broken_guard(zone, key) is None
    at = data.draw(st.integers(0, length - 1))
    zone[at] ^= 1
    zone[at + 1 :] = 0
    assert library().broken_guard(zone, key) == at


def test_a_guard_zone_cannot_be_restored_without_its_key():
    zone = np.zeros(4096, np.uint8)
    library().fill_guard(zone, 1)
    first = zone.copy()
    library().fill_guard(zone, 2)
    assert library().broken_guard(first, 2) is not None


@given(st.integers(1, 500), st.data())
def test_a_checksum_changes_with_any_bit(count, data):
    array = np.random.default_rng(count).integers(0, 256, count, dtype=np.uint8)
    before = library().checksum(array, 7)
    assert before == library().checksum(array.copy(), 7) != library().checksum(array, 8)
    array[data.draw(st.integers(0, count - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert library().checksum(array, 7) != before


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "bool"])
def test_differing_elements_are_counted_bit_by_bit(dtype):
    left = np.ones(10_001, dtype)
    right = left.copy()
    assert library().differing(left, right) == (0, -1)
    right[[5000, 9000]] = 0
    assert library().differing(left, right) == (2, 5000)


PAIRS = [("float32", "float32"), ("float32", "float64"), ("float64", "float64")]


@pytest.mark.parametrize(("got_type", "expected_type"), PAIRS)
@pytest.mark.parametrize("shape", [(1, 1), (7, 33), (3, 1024), (2, 5000), (4097, 1)])
@pytest.mark.parametrize("forgiving", [False, True])
def test_the_comparison_computes_what_its_definition_says(got_type, expected_type, shape, forgiving):
    rng = np.random.default_rng(3)
    expected = rng.standard_normal(shape).astype(np.float32).astype(expected_type)
    got = (expected * (1 + 1e-3 * rng.standard_normal(shape))).astype(got_type)
    half = 0.5 * np.sqrt((expected.astype(float) ** 2).mean(-1))
    slack = 1e-4 * rng.random(shape[0]) if forgiving else None
    error = np.abs(got.astype(float) - expected) - (0 if slack is None else slack[:, None])
    error = np.maximum(error, 0)
    s = error / (np.abs(expected) + half[:, None])
    limit = float(np.quantile(s, 0.9)) * 1.0001
    found = library().compare(got, expected, half, slack, limit)
    assert found.max_s == pytest.approx(s.max(), rel=1e-3)
    assert s.flat[found.worst] == pytest.approx(s.max(), rel=2e-3)
    assert found.sum_e2 == pytest.approx((error**2).sum(), rel=1e-3)
    assert found.beyond == (s > limit).sum()
    assert found.first == (int(np.flatnonzero(s > limit)[0]) if found.beyond else -1)
    assert found.mismatched == 0


@pytest.mark.parametrize(
    ("got", "expected", "mismatched"),
    [
        (np.nan, 1.0, 1), (np.inf, 1.0, 1), (-np.inf, np.inf, 1), (np.nan, np.inf, 1), (1.0, np.nan, 1), (1.0, np.inf, 1),
        (np.nan, np.nan, 0), (np.inf, np.inf, 0), (-np.inf, -np.inf, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at", [0, 1000, 1023, 1024, 2999])
def test_only_a_nan_matches_a_nan_and_an_infinity_its_own_sign(got, expected, mismatched, at):
    y = np.ones((1, 3000), np.float32)
    g = y.copy()
    y[0, at], g[0, at] = expected, got
    found = library().compare(g, y, np.full(1, 0.5), None, 1e-5)
    assert (found.mismatched, found.beyond) == (mismatched, mismatched)
    assert found.first_mismatched == (at if mismatched else -1)


def test_no_limit_however_wide_lets_a_nan_pass():
    y = np.ones((2, 100), np.float32)
    assert library().compare(np.full_like(y, np.nan), y, np.ones(2), np.full(2, 1e30), 1e30).beyond == 200


def test_a_row_of_zeros_must_be_zeros():
    y, half = np.zeros((1, 8), np.float32), np.zeros(1)
    assert library().compare(y, y, half, None, 1e-5).beyond == 0
    assert library().compare(y + np.float32(1e-30), y, half, None, 1e-5).beyond == 8


def test_arrays_that_do_not_fit_are_refused():
    a = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="contiguous"):
        library().poison(a[:, :2])
    with pytest.raises(ValueError, match="cannot compare"):
        library().compare(a, a[:2], np.zeros(4), None, 1.0)
    with pytest.raises(ValueError, match="half_rms"):
        library().compare(a, a, np.zeros(3), None, 1.0)
    a.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        library().copy(a, a.copy())


def test_the_library_does_not_flush_denormals_to_zero():
    library()
    assert np.float32(1e-40) * np.float32(0.5) > 0


def test_a_second_build_finds_the_first(tmp_path):
    first = build(tmp_path)
    stamp = first.stat().st_mtime_ns
    assert build(tmp_path) == first and first.stat().st_mtime_ns == stamp
    assert [file.name for file in first.parent.iterdir()] == [first.name]


def test_builds_at_the_same_time_leave_one_whole_library(tmp_path):
    paths: list[object] = []
    threads = [threading.Thread(target=lambda: paths.append(build(tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1 and len(paths) == 3
    assert len(list((tmp_path / "native").iterdir())) == 1


def test_a_missing_compiler_is_named_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(NativeError, match=r"No C compiler.*apt-get install"):
        build(tmp_path)


def test_a_compiler_that_fails_is_quoted(tmp_path, monkeypatch):
    broken = tmp_path / "broken-cc"
    broken.write_text("#!/bin/sh\necho 'the disk is made of cheese' >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(NativeError, match="made of cheese"):
        build(tmp_path / "cache")
    assert list((tmp_path / "cache" / "native").iterdir()) == []


def test_an_unwritable_cache_says_what_to_set(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NativeError, match="XDG_CACHE_HOME"):
        build(tmp_path / "file")
