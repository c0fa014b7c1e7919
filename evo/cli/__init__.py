"""The command line: one file per group of verbs, put together here.

Nothing heavy is imported before a verb runs; `evo --help` loads typer and, on a terminal, Rich.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line (`sys.argv[1:]` by default) and returns its exit code; never lets a traceback out."""
    from evo.cli.app import build

    try:
        build()(args=None if arguments is None else list(arguments), prog_name="evo")
        return 0
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 2
    except BrokenPipeError:
        silence_output()
        return 0
    except KeyboardInterrupt:
        from evo.cli.failures import INTERRUPTED

        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        from evo.cli.failures import report_failure

        return report_failure(error)
    finally:
        flush_quietly()


def flush_quietly() -> None:
    """Flushes standard output now, so that a reader that went away is noticed here and not at interpreter exit."""
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        silence_output()


def silence_output() -> None:
    """Sends what is still buffered to nowhere: the reader closed the pipe, which is its right."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
