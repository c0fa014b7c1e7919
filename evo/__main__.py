"""`python -m evo` and the `evo` command."""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Refuses shadowed packages before anything of ours is imported, then hands over to the command line."""
    from evo.shadow import ShadowError, refuse_shadows

    try:
        refuse_shadows()
    except ShadowError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if importlib.util.find_spec("typer") is None:
        print(f"error: what evo needs is not installed for {sys.executable}", file=sys.stderr)
        print("  remedy:   pip install . in evo's folder, or `make run` there, which sets everything up", file=sys.stderr)
        sys.exit(2)
    # NumPy's linear algebra is the surrogate's: small products, which more threads than one make slower, and noisier what is timed
    # beside them. What is measured has an environment of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from evo.cli import main as command_line

    sys.exit(command_line())


if __name__ == "__main__":
    main()
