"""From an exception to what the user reads and the exit code a script sees.

0: done. 1: `evo` itself failed (the log has the traceback). 2: something the user can put right. 130: interrupted.
`EVO_DEBUG=1` shows every traceback.
"""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

from evo.cli.output import error_block, say_error
from evo.errors import UserError, as_user_error

__all__ = ["DEFECT", "INTERRUPTED", "USER_ERROR", "report_failure"]

DEFECT = 1
USER_ERROR = 2
INTERRUPTED = 130

OPTIONAL = ("torch", "triton", "litellm", "optuna", "mcp")
"""Packages that only some configs need."""


def report_failure(error: BaseException) -> int:
    """Says what went wrong on standard error and returns the exit code."""
    if os.environ.get("EVO_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
    known = explain(error)
    if known is not None:
        say_error(error_block(known))
        return USER_ERROR
    log = write_log(error)
    where = f"\n  log:      {log}" if log is not None else ""
    say_error(
        f"error: evo failed unexpectedly: {type(error).__name__}: {error}{where}"
        "\n  remedy:   this is a defect of evo; EVO_DEBUG=1 shows the traceback here, please report it with the log"
    )
    return DEFECT


def explain(error: BaseException) -> UserError | None:
    """The error as one the user can put right; None when it is a defect of ours."""
    known = as_user_error(error)
    if known is not None:
        return known
    if isinstance(error, ModuleNotFoundError) and (missing := (error.name or "").split(".")[0]) in OPTIONAL:
        return UserError(f"This needs {missing}, which is not installed.", remedy=f"pip install {missing}")
    if isinstance(error, OSError):
        return explain_system(error)
    return None


def explain_system(error: OSError) -> UserError | None:
    """Full disks, missing rights and read-only folders are the user's to put right; other system errors are not guessed at."""
    advice = {
        errno.ENOSPC: "Free some space, or put the run elsewhere with -o.",
        errno.EDQUOT: "Free some of your quota, or put the run elsewhere with -o.",
        errno.EROFS: "Put the run on a file system that can be written, with -o.",
        errno.EACCES: "Make it accessible, or choose another path.",
        errno.EPERM: "Make it accessible, or choose another path.",
        errno.EMFILE: "Raise the limit on open files: ulimit -n 4096.",
    }.get(error.errno or 0)
    if advice is None:
        return None
    return UserError("The system refused an operation.", file=error.filename, found=error.strerror, remedy=advice)


def write_log(error: BaseException) -> Path | None:
    """The traceback in a file of its own; None when not even the temporary folder can be written."""
    text = "".join([f"evo {' '.join(sys.argv[1:])}\npython {sys.version}\n\n", *traceback.format_exception(error)])
    try:
        from fitness.cache import default_root

        folders = [default_root() / "log", Path(tempfile.gettempdir())]
    except Exception:  # the cache's own module may be what failed
        folders = [Path(tempfile.gettempdir())]
    for folder in folders:
        path = folder / f"evo-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return path
    return None
