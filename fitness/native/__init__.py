"""The referee's own streaming passes, in C: copy, poison, guard zones, checksums, comparison. Compiled on first use.

The library is cached by content (source, compiler, flags, CPU) and put into place by an atomic rename, so any number of
processes may need it at once and none ever loads half a file.
"""

from __future__ import annotations

from fitness.native.build import NativeError, build
from fitness.native.library import Comparison, NativeLibrary, library

__all__ = ["Comparison", "NativeError", "NativeLibrary", "build", "library"]
