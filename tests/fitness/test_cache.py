"""The content-addressed cache under concurrency, damage, deletion and kill -9."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fitness.cache import Cache, CacheError, content_key, default_root


def test_an_entry_is_read_back_as_it_was_stored(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    source = tmp_path / "made"
    source.write_bytes(b"object")
    entry = cache.put("build", "abcdef", {"kernel.so": source, "facts.json": b"{}"})
    assert not source.exists(), "a path is moved in"
    found = cache.get("build", "abcdef")
    assert found == entry
    assert found is not None and found.read("kernel.so") == b"object" and found.read("facts.json") == b"{}"


def test_kinds_and_keys_are_apart(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("build", "abcdef", {"x": b"1"})
    assert cache.get("headers", "abcdef") is None
    assert cache.get("build", "abcdee") is None


def test_keys_of_different_part_lists_differ() -> None:
    assert content_key("ab", "c") != content_key("a", "bc")
    assert content_key("a") != content_key("a", "")
    assert content_key("a") == content_key(b"a")


@pytest.mark.parametrize("damage", ["truncated", "changed", "removed", "manifest", "no_manifest"])
def test_a_damaged_entry_counts_as_absent_and_can_be_stored_again(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    entry = cache.put("build", "abcdef", {"kernel.so": b"x" * 1000})
    victim = entry.path("kernel.so")
    if damage == "truncated":
        victim.write_bytes(b"x" * 999)
    elif damage == "changed":
        victim.write_bytes(b"x" * 999 + b"y")
    elif damage == "removed":
        victim.unlink()
    elif damage == "manifest":
        entry.path("manifest.json").write_text('{"files": ["kernel.so"')
    else:
        entry.path("manifest.json").unlink()
    assert cache.get("build", "abcdef") is None
    cache.put("build", "abcdef", {"kernel.so": b"new"})
    again = cache.get("build", "abcdef")
    assert again is not None and again.read("kernel.so") == b"new"


def test_damage_to_a_large_file_is_seen_after_it_was_read_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    entry = cache.put("headers", "abcdef", {"headers.h.gch": b"x" * (2 << 20)})
    assert cache.get("headers", "abcdef") is not None
    with entry.path("headers.h.gch").open("r+b") as file:
        file.write(b"y")
    assert cache.get("headers", "abcdef") is None


def test_the_first_of_two_writers_wins_and_both_get_a_whole_entry(tmp_path: Path) -> None:
    one, other = Cache(tmp_path), Cache(tmp_path)
    first = one.put("build", "abcdef", {"x": b"first"})
    second = other.put("build", "abcdef", {"x": b"second"})
    assert first.folder == second.folder
    assert second.read("x") == b"first"


def test_the_cache_may_be_deleted_at_any_moment(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    cache = Cache(root)
    cache.put("build", "abcdef", {"x": b"1"})
    shutil.rmtree(root)
    assert cache.get("build", "abcdef") is None
    with cache.scratch() as folder:
        assert folder.is_dir()
    cache.put("build", "abcdef", {"x": b"2"})
    entry = cache.get("build", "abcdef")
    assert entry is not None and entry.read("x") == b"2"


def test_trimming_keeps_what_was_stored_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for index in range(6):
        folder = cache.put("headers", f"k{index}", {"x": b"1"}).folder
        os.utime(folder, (1000 + index, 1000 + index))
    cache.trim("headers", 2)
    assert [index for index in range(6) if cache.get("headers", f"k{index}")] == [4, 5]
    cache.trim("nothing", 2)


def test_replacing_gives_the_new_content(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("ceilings", "abc", {"x": b"old"})
    cache.replace("ceilings", "abc", {"x": b"new"})
    entry = cache.get("ceilings", "abc")
    assert entry is not None and entry.read("x") == b"new"


def test_scratch_folders_vanish_and_stale_ones_are_swept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with cache.scratch() as folder:
        (folder / "x").write_text("x")
    assert not folder.exists()
    left = tmp_path / "scratch" / "left-behind"
    left.mkdir()
    fresh = tmp_path / "scratch" / "in-use"
    fresh.mkdir()
    long_ago = time.time() - 7200
    os.utime(left, (long_ago, long_ago))
    Cache(tmp_path)
    assert not left.exists() and fresh.exists()


def test_an_unusable_root_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"file/cache.*evaluation\.cache"):
        Cache(tmp_path / "file" / "cache")


def test_the_default_root_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "evo"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_root() == Path.home() / ".cache" / "evo"


def _store_many(root: str, number: int) -> int:
    cache = Cache(Path(root))
    good = 0
    for index in range(50):
        content = f"content {index}".encode() * 100
        entry = cache.get("build", f"ab{index % 10}") or cache.put("build", f"ab{index % 10}", {"x": b"content" * 500, "y": content[:0]})
        good += entry.read("x") == b"content" * 500
    return good


def test_many_processes_share_one_cache(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        results = pool.starmap(_store_many, [(str(tmp_path), number) for number in range(4)])
    assert results == [50] * 4
    assert not list((tmp_path / "scratch").iterdir())


WRITER = """
import sys
from pathlib import Path
from fitness.cache import Cache
cache = Cache(Path(sys.argv[1]))
print("ready", flush=True)
for index in range(10**6):
    cache.put("build", f"k{index}", {"a": b"a" * 20000, "b": b"b" * 20000})
"""


def test_a_writer_killed_at_any_moment_leaves_only_whole_entries(tmp_path: Path) -> None:
    for delay in (0.003, 0.011, 0.029):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    cache = Cache(tmp_path)
    folders = [each for each in (tmp_path / "build").glob("*/*") if each.is_dir()]
    assert folders
    for folder in folders:
        entry = cache.get("build", folder.name)
        assert entry is not None and entry.read("b") == b"b" * 20000
