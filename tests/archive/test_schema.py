"""The schema's versions: newer ones are refused, older ones are migrated beside a backup, other files are left alone."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from archive import schema
from archive.candidate import AddStatus, Proposal
from archive.lineage import Lineage, LineageError, SchemaError
from archive.schema import TABLES, VERSION
from archive.stats import log_speedup

PAIRS = np.array([[1e-3, 2e-3], [1.5e-3, 2.5e-3], [1e-3, 3e-3]])


def version_1(path: Path) -> None:
    """A database as evo wrote it in schema 1: two BLOBs of times per shape, and no sessions."""
    db = sqlite3.connect(path)
    db.executescript(
        """
        CREATE TABLE schema_versions (version INTEGER PRIMARY KEY, reached TEXT);
        CREATE TABLE environments (id TEXT PRIMARY KEY, facts TEXT NOT NULL);
        CREATE TABLE prompts (id TEXT PRIMARY KEY, text TEXT NOT NULL);
        CREATE TABLE kernels (id TEXT PRIMARY KEY, language TEXT NOT NULL, source TEXT NOT NULL);
        CREATE TABLE runs (id INTEGER PRIMARY KEY, created TEXT NOT NULL, problem TEXT, target TEXT, strategy TEXT, seed INTEGER,
          version TEXT, config TEXT NOT NULL);
        CREATE TABLE proposals (run INTEGER, number INTEGER, operator TEXT NOT NULL, goal TEXT, drafted INTEGER, kernel TEXT, notes TEXT,
          time TEXT, seconds REAL, PRIMARY KEY (run, number));
        CREATE TABLE parents (run INTEGER, child INTEGER, position INTEGER, parent INTEGER NOT NULL, PRIMARY KEY (run, child, position));
        CREATE TABLE candidates (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, number INTEGER NOT NULL, kernel TEXT, evaluation INTEGER,
          cell TEXT, status TEXT, duplicate_of INTEGER, notes TEXT, time TEXT, seconds REAL);
        CREATE UNIQUE INDEX candidates_run_number ON candidates (run, number);
        CREATE TABLE evaluations (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, candidate INTEGER NOT NULL, event INTEGER, kernel TEXT,
          outcome TEXT NOT NULL, objective REAL, low REAL, high REAL, speedup REAL, diagnostics TEXT, profile TEXT, cost TEXT,
          artifact TEXT, environment TEXT, reused TEXT);
        CREATE TABLE samples (evaluation INTEGER, position INTEGER, shape TEXT NOT NULL, seconds BLOB NOT NULL, baseline BLOB NOT NULL,
          PRIMARY KEY (evaluation, position));
        CREATE TABLE archive_events (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, kind TEXT NOT NULL, candidate INTEGER NOT NULL,
          cell TEXT, status TEXT, elite INTEGER, time TEXT, seconds REAL);
        CREATE TABLE estimates (event INTEGER, run INTEGER, candidate INTEGER, objective REAL, low REAL, high REAL, speedup REAL,
          PRIMARY KEY (event, candidate));
        CREATE INDEX estimates_run_candidate ON estimates (run, candidate);
        CREATE TABLE certificates (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, candidate INTEGER NOT NULL, kernel TEXT NOT NULL,
          ok INTEGER NOT NULL, strongest TEXT, speedup REAL, low REAL, high REAL, roofline_share REAL, facts TEXT, environment TEXT,
          time TEXT, seconds REAL);
        CREATE TABLE model_calls (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, candidate INTEGER, model TEXT NOT NULL, prompt TEXT,
          answer TEXT, tokens_in INTEGER, tokens_out INTEGER, dollars REAL, facts TEXT, time TEXT, seconds REAL);
        CREATE VIEW timed AS SELECT evaluation, length(seconds) / 8 AS n FROM samples;
        INSERT INTO schema_versions VALUES (1, '2026-01-01T00:00:00.000Z');
        INSERT INTO runs VALUES (1, '2026-01-01T00:00:00.000Z', 'softmax', 'cpp', 'map_elites', 3, '0.0.9', '{}');
        INSERT INTO kernels VALUES ('k0', 'cpp', '#define A 1  // evo: {1, 2}');
        INSERT INTO proposals VALUES (1, 0, 'seed', NULL, 1, 'k0', '{}', '2026-01-01T00:00:01.000Z', 1.0);
        INSERT INTO proposals VALUES (1, 1, 'mutate_many', NULL, 0, NULL, NULL, '2026-01-01T00:00:02.000Z', 2.0);
        INSERT INTO parents VALUES (1, 1, 0, 0);
        INSERT INTO evaluations VALUES (1, 1, 0, NULL, 'k0', 'ok', 0.7, 0.6, 0.8, 2.01, NULL, '{"v":1}', NULL, 'art', 'env', '');
        INSERT INTO candidates VALUES (1, 1, 0, 'k0', 1, '0,1', 'new', NULL, NULL, '2026-01-01T00:00:03.000Z', 3.0);
        INSERT INTO archive_events VALUES (1, 1, 'offer', 0, '0,1', 'new', 0, '2026-01-01T00:00:03.000Z', 3.0);
        PRAGMA user_version = 1;
        """
    )
    columns = [np.ascontiguousarray(PAIRS[:, i]).tobytes() for i in (0, 1)]
    db.execute("INSERT INTO samples VALUES (1, 0, 'n=1', ?, ?)", columns)
    db.commit()
    db.close()


def test_an_older_schema_is_migrated_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    version_1(path)
    with Lineage.open(path) as lineage:
        (candidate,) = lineage.candidates()
        assert (candidate.number, candidate.cell, candidate.status) == (0, (0, 1), AddStatus.NEW)
        (samples,) = candidate.evaluation.samples
        assert np.array_equal(samples.seconds, PAIRS[:, 0]) and np.array_equal(samples.baseline, PAIRS[:, 1])
        assert lineage.in_flight() == [(Proposal(1, "mutate_many", (0,)), None)]
        assert lineage.select("SELECT candidate, ancestry FROM best") == [{"candidate": 0, "ancestry": "0 seed"}]
        assert lineage.select("SELECT run, started FROM sessions") == [{"run": 1, "started": "2026-01-01T00:00:00.000Z"}]
        assert [r["version"] for r in lineage.select("SELECT version FROM schema_versions")] == [1, VERSION]
        assert lineage.seconds >= 3.0


def version_2(path: Path) -> None:
    """The same as schema 2 kept it: pairs in one BLOB, nothing said of how they were disturbed."""
    version_1(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "VERSION", 2)
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        patch.setattr(schema, "VIEWS", {})
        connection = sqlite3.connect(path, isolation_level=None)
        schema.migrate(connection, path, 1)
        connection.close()


def test_times_of_before_it_was_said_how_they_are_disturbed_keep_their_medians(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    version_2(path)
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA user_version").fetchone() == (2,)
    assert [row[1] for row in plain.execute("PRAGMA table_info(samples)")] == ["evaluation", "position", "shape", "count", "pairs"]
    plain.close()
    with Lineage.open(path) as lineage:
        (candidate,) = lineage.candidates()
        (samples,) = candidate.evaluation.samples
        assert not samples.only_longer and np.array_equal(samples.seconds, PAIRS[:, 0])
        assert log_speedup(samples) == pytest.approx(np.log(2.0))


def test_a_migrated_database_has_the_columns_and_views_of_a_new_one(tmp_path: Path) -> None:
    version_1(tmp_path / "old.db")
    found = []
    for lineage in (Lineage.open(tmp_path / "old.db"), Lineage.create(tmp_path / "new.db")):
        with lineage:
            tables = {t: [(r["name"], r["type"], r["pk"]) for r in lineage.select(f"PRAGMA table_info({t})")] for t in TABLES}
            found.append((tables, sorted(r["name"] for r in lineage.select("SELECT name FROM sqlite_master WHERE type = 'view'"))))
            assert lineage.select("PRAGMA user_version") == [{"user_version": VERSION}]
    assert found[0] == found[1]


def test_the_backup_is_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    version_1(path)
    Lineage.open(path).close()
    backup = sqlite3.connect(tmp_path / "run.db.schema-1.backup")
    assert backup.execute("PRAGMA user_version").fetchone() == (1,)
    assert backup.execute("SELECT n FROM timed").fetchall() == [(3,)]
    backup.close()


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.db"
    version_1(path)

    def failing(connection: sqlite3.Connection, db: object) -> None:
        schema.MIGRATIONS_REAL[0](connection, db)
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(schema, "MIGRATIONS_REAL", schema.MIGRATIONS, raising=False)
    monkeypatch.setattr(schema, "MIGRATIONS", (failing,))
    with pytest.raises(LineageError, match="Free some space"):
        Lineage.open(path)
    monkeypatch.undo()
    plain = sqlite3.connect(path)
    assert plain.execute("PRAGMA user_version").fetchone() == (1,)
    assert plain.execute("SELECT n FROM timed").fetchall() == [(3,)]
    plain.close()
    with Lineage.open(path) as lineage:
        assert len(list(lineage.candidates())) == 1


def test_every_step_from_the_first_version_exists() -> None:
    assert len(schema.MIGRATIONS) == VERSION - 1


@pytest.mark.parametrize("readonly", [False, True])
def test_a_newer_schema_is_refused_with_what_was_found_and_expected(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "run.db"
    Lineage.create(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 5}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(SchemaError) as caught:
        Lineage.open(path, readonly)
    error = caught.value
    assert error.path == path and str(VERSION + 5) in error.found and str(VERSION) in error.expected and "evo" in error.remedy
    assert path.read_bytes() == before


def test_an_older_schema_is_not_migrated_by_a_reader(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    version_1(path)
    before = path.read_bytes()
    with pytest.raises(SchemaError, match="older schema"):
        Lineage.open(path, readonly=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_that_is_no_lineage_is_refused_and_left_alone(tmp_path: Path, readonly: bool) -> None:
    text = tmp_path / "notes.db"
    text.write_text("not a database, but long enough to look at " * 50)
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE t (x)")
    db.commit()
    db.close()
    for path in (text, other):
        before = path.read_bytes()
        with pytest.raises(SchemaError, match="not a lineage"):
            Lineage.open(path, readonly)
        assert path.read_bytes() == before


@pytest.mark.parametrize("readonly", [False, True])
def test_a_damaged_database_is_an_error_with_its_path_and_a_way_to_save_what_is_left(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "run.db"
    with Lineage.create(path) as lineage:
        lineage.start_run("{}", 0, "p", "cpp")
        for number in range(200):
            lineage.propose(Proposal(number, "seed"))
    damaged = bytearray(path.read_bytes())
    for page in range(4096, len(damaged), 4096):
        damaged[page : page + 100] = b"\xff" * 100
    path.write_bytes(damaged)
    with pytest.raises(LineageError) as caught:
        Lineage.open(path, readonly).in_flight()
    assert caught.value.path == path and "recover" in caught.value.remedy
