"""Recorded tuning spaces read from files: compact CSV, Kernel Tuner caches, T4 JSON. Each may be gzipped.

* CSV: parameter columns, then `status` (`ok` or the kind of failure), `time_ms`, `cost_ms` (optional).
* Kernel Tuner cache: `{device_name, kernel_name, tune_params_keys, tune_params, objective, cache}`; an entry's time is in
  milliseconds or the name of a failure. Files of an interrupted run lack their closing braces and may end within a line.
* T4: `{metadata, schema_version, results: [{configuration, times, invalidity, measurements}]}`. What is invalid by its `constraints`
  breaks a restriction of the space: it is no member of it, and is left out like what other formats do not list.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archive.tunables import Value
from fitness.targets.base import TargetError

__all__ = ["Recording", "RecordingError", "Row", "load_recording"]

FIXED = ("status", "time_ms", "cost_ms")
OUTSIDE = "constraints"
"""T4's word for a configuration that is not of the space."""
UNITS = {"s": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3, "miliseconds": 1e-3, "us": 1e-6, "microseconds": 1e-6, "ns": 1e-9}


class RecordingError(TargetError):
    """A recorded space cannot be read; the message names the file, line or key, what was found and what was expected."""

    def __init__(self, path: Path, where: str, found: str, expected: str, remedy: str = "") -> None:
        self.path, self.where, self.found, self.expected = path, where, found, expected
        super().__init__(f"{path}: {where}: found {found}, expected {expected}." + (f" {remedy}" if remedy else ""))


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded configuration."""

    values: tuple[Value, ...]
    """In the order of the recording's names."""
    seconds: float | None
    """None for a failure."""
    status: str
    """`ok`, or what the recorder called the failure."""
    cost: float = 0.0
    """Seconds that compiling and measuring took back then."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded space: what is not in `rows` did not exist."""

    path: Path
    names: tuple[str, ...]
    rows: tuple[Row, ...]
    """In the file's order, no configuration twice; at least one is ok."""
    digest: str
    """SHA-256 of the file's (unpacked) content."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Device, kernel and size as far as the file tells."""


def load_recording(path: str | Path) -> Recording:
    """Reads a file by what it contains, whatever its name. Raises `RecordingError`."""
    path = Path(path).expanduser()
    data = _read(path)
    digest = hashlib.sha256(data).hexdigest()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordingError(path, f"byte {error.start}", "something that is no UTF-8 text", "CSV or JSON") from error
    names, rows, facts = _read_json(path, text) if text.lstrip()[:1] in ("{", "[") else _read_csv(path, text)
    if not rows:
        raise RecordingError(path, "rows", "no configuration", "at least one")
    if not any(row.seconds is not None for row in rows):
        raise RecordingError(path, "rows", f"{len(rows)} failed configurations", "at least one that is ok")
    return Recording(path, names, _one_type_each(names, rows), digest, facts)


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except FileNotFoundError as error:
        raise RecordingError(path, "problem", "no such file", "a recorded space (.csv, .csv.gz, .json)", "Give its path.") from error
    except IsADirectoryError as error:
        raise RecordingError(path, "problem", "a folder", "a recorded space (.csv, .csv.gz, .json)", "Name one file in it.") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecordingError(path, "file", f"damaged gzip data ({error})", "a whole file", "Copy it again.") from error
    except OSError as error:
        raise RecordingError(path, "file", error.strerror or str(error), "a readable file") from error


_Content = tuple[tuple[str, ...], list[Row], dict[str, object]]


def _read_csv(path: Path, text: str) -> _Content:
    reader = csv.reader(io.StringIO(text, newline=""))
    head = next(reader, [])
    end = next((index for index, name in enumerate(head) if name == "status"), -1)
    if end < 1 or tuple(head[end:]) not in (FIXED, FIXED[:2]):
        raise RecordingError(path, "line 1", f"columns {', '.join(head)[:200] or 'nothing'}", f"parameters, then {', '.join(FIXED)}")
    names = _names(path, "line 1", head[:end])
    rows: list[Row] = []
    seen: dict[tuple[Value, ...], int] = {}
    for cells in reader:
        line = reader.line_num
        if not cells:
            continue
        if len(cells) != len(head):
            raise RecordingError(path, f"line {line}", f"{len(cells)} cells", f"{len(head)}", "The file may be cut off; copy it again.")
        values = tuple(_literal(cell) for cell in cells[:end])
        if values in seen:
            raise RecordingError(path, f"line {line}", f"the configuration of line {seen[values]} again", "each configuration once")
        seen[values] = line
        status = cells[end].strip()
        seconds = _seconds(path, f"line {line}, time_ms", cells[end + 1], 1e-3) if status == "ok" else None
        cost = _cost(path, f"line {line}, cost_ms", cells[end + 2]) if len(head) > end + 2 else 0.0
        if not status:
            raise RecordingError(path, f"line {line}, status", "nothing", "ok, or the kind of failure")
        rows.append(Row(values, seconds, status, cost))
    return names, rows, {}


def _read_json(path: Path, text: str) -> _Content:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        content = _mended(text)
        if content is None:
            message = f"{error.msg} in line {error.lineno}, column {error.colno}"
            raise RecordingError(path, f"line {error.lineno}", message, "a Kernel Tuner cache or T4 JSON") from error
    if isinstance(content, dict) and isinstance(content.get("cache"), dict):
        return _read_kernel_tuner(path, content)
    if isinstance(content, dict) and isinstance(content.get("results"), list):
        return _read_t4(path, content)
    keys = ", ".join(map(str, content))[:200] if isinstance(content, dict) else type(content).__name__
    raise RecordingError(path, "top level", f"{keys or 'nothing'}", "an object with `cache` (Kernel Tuner) or `results` (T4)")


def _mended(text: str) -> Any:
    """What an interrupted Kernel Tuner run left behind: the file up to its last whole entry, closed; None when that is not it."""
    body = text.rstrip()
    for _ in range(3):  # whole as it is; a trailing comma; a last line that was cut
        try:
            content = json.loads(body.rstrip().rstrip(",") + "}}")
            return content if "cache" in content else None
        except json.JSONDecodeError:
            cut = max(body.rfind("},\n"), body.rfind("},"))
            if cut < 0:
                return None
            body = body[: cut + 1]
    return None


def _read_kernel_tuner(path: Path, content: dict[str, Any]) -> _Content:
    keys = content.get("tune_params_keys") or list(content.get("tune_params", {}))
    if not isinstance(keys, list) or not keys:
        raise RecordingError(path, "tune_params_keys", repr(keys)[:100], "a list of parameter names")
    names = _names(path, "tune_params_keys", keys)
    objective = content.get("objective") if isinstance(content.get("objective"), str) else "time"
    rows = []
    for key, entry in content["cache"].items():
        where = f"cache[{key!r}]"
        if not isinstance(entry, dict):
            raise RecordingError(path, where, type(entry).__name__, "an object")
        parts = key.split(",")
        if not all(name in entry for name in keys) and len(parts) != len(keys):
            raise RecordingError(path, where, f"{len(parts)} values", f"{len(keys)}, one for each of {', '.join(names)}")
        values = tuple(_value(path, where, entry[name]) if name in entry else _literal(parts[i]) for i, name in enumerate(keys))
        time = entry.get("time", entry.get(objective))
        if time is None:
            raise RecordingError(path, where, "no `time`", "milliseconds or the name of a failure")
        failed = isinstance(time, str) and not _is_number(time)
        costs = ("compile_time", "benchmark_time", "framework_time", "verification_time")
        cost = sum(_cost(path, f"{where}.{name}", entry[name]) for name in costs if entry.get(name) is not None)
        rows.append(Row(values, None if failed else _seconds(path, f"{where}.time", time, 1e-3), str(time) if failed else "ok", cost))
    facts: dict[str, object] = {name: content[name] for name in ("device_name", "kernel_name", "problem_size") if name in content}
    return names, _each_once(path, "cache", rows), facts


def _read_t4(path: Path, content: dict[str, Any]) -> _Content:
    results = content["results"]
    first = results[0].get("configuration") if results and isinstance(results[0], dict) else None
    if not isinstance(first, dict) or not first:
        raise RecordingError(path, "results[0].configuration", repr(first)[:100], "an object of parameter values")
    keys = list(first)
    names = _names(path, "results[0].configuration", keys)
    rows = []
    for index, result in enumerate(results):
        where = f"results[{index}]"
        configuration = result.get("configuration") if isinstance(result, dict) else None
        if not isinstance(configuration, dict) or set(configuration) != set(keys):
            raise RecordingError(path, f"{where}.configuration", repr(configuration)[:100], f"an object with {', '.join(names)}")
        values = tuple(_value(path, f"{where}.configuration.{name}", configuration[name]) for name in keys)
        status = str(result.get("invalidity", "correct"))
        if status == OUTSIDE:
            continue
        times = result.get("times") if isinstance(result.get("times"), dict) else {}
        cost = _t4_cost(path, f"{where}.times", times)
        seconds = _t4_seconds(path, where, result, times) if status == "correct" else None
        rows.append(Row(values, seconds, "ok" if status == "correct" else status, cost))
    metadata = content.get("metadata")
    return names, _each_once(path, "results", rows), dict(metadata) if isinstance(metadata, dict) else {}


def _t4_seconds(path: Path, where: str, result: Mapping[str, Any], times: Mapping[str, Any]) -> float:
    measurements = [each for each in result.get("measurements") or [] if isinstance(each, dict)]
    wanted = [*(result.get("objectives") or []), "time", "runtime", "GPU time"]
    for name in wanted:
        for each in measurements:
            if each.get("name") != name:
                continue
            unit = str(each.get("unit", "ms")) or "ms"
            if unit not in UNITS:
                raise RecordingError(path, f"{where}.measurements[{name}].unit", repr(unit), f"one of {', '.join(UNITS)}")
            return _seconds(path, f"{where}.measurements[{name}]", each.get("value"), UNITS[unit])
    runtimes = times.get("runtimes") or []
    if not runtimes:
        raise RecordingError(path, where, "no measurement `time` and no times.runtimes", "a time for a correct configuration")
    return math.fsum(_seconds(path, f"{where}.times.runtimes", each, 1e-3) for each in runtimes) / len(runtimes)


def _t4_cost(path: Path, where: str, times: Mapping[str, Any]) -> float:
    runs = sum(_cost(path, f"{where}.runtimes", each) for each in times.get("runtimes") or [])
    others = {name: value for name, value in times.items() if name not in ("runtimes", "search_algorithm")}
    return runs + sum(_cost(path, f"{where}.{name}", value) for name, value in others.items())


def _names(path: Path, where: str, names: list[str]) -> tuple[str, ...]:
    """Parameter names, made identifiers."""
    made = ["".join(letter if letter.isalnum() or letter == "_" else "_" for letter in str(name).strip()) for name in names]
    made = [name if name[:1].isalpha() or name[:1] == "_" else f"P{name}" for name in made]
    twice = sorted({name for name in made if made.count(name) > 1})
    if twice:
        raise RecordingError(path, where, f"{', '.join(twice)} more than once", "distinct parameter names")
    return tuple(made)


def _each_once(path: Path, where: str, rows: list[Row]) -> list[Row]:
    seen: set[tuple[Value, ...]] = set()
    for row in rows:
        if row.values in seen:
            raise RecordingError(path, where, f"the configuration {row.values} twice", "each configuration once")
        seen.add(row.values)
    return rows


def _one_type_each(names: tuple[str, ...], rows: list[Row]) -> tuple[Row, ...]:
    """A parameter's values get one type: whole numbers, else numbers, else text."""
    columns = []
    for index in range(len(names)):
        column = [row.values[index] for row in rows]
        kinds = {type(value) for value in column}
        if len(kinds) > 1:
            make = str if str in kinds else float if float in kinds else int
            column = [make(value) for value in column]
        columns.append(column)
    every = zip(*columns, strict=True)
    return tuple(Row(tuple(values), row.seconds, row.status, row.cost) for values, row in zip(every, rows, strict=True))


def _value(path: Path, where: str, value: object) -> Value:
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise RecordingError(path, where, repr(value)[:100], "a number, a text or a truth value")


def _literal(text: str) -> Value:
    text = text.strip()
    for make in (int, float):
        try:
            value = make(text)
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    return {"True": True, "true": True, "False": False, "false": False}.get(text, text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds(path: Path, where: str, value: object, unit: float) -> float:
    try:
        seconds = float(value) * unit  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise RecordingError(path, where, repr(value)[:60], "a positive time")
    return seconds


def _cost(path: Path, where: str, value: object) -> float:
    """Milliseconds to seconds; an empty cell is 0."""
    if value in ("", None):
        return 0.0
    try:
        seconds = float(value) * 1e-3  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise RecordingError(path, where, repr(value)[:60], "milliseconds")
    return seconds
