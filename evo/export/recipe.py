"""How the kernels are compiled and linked: as they were when they were certified, one library each.

A library of its own for each kernel, since kernels of one family define the same names differently; a linker script hides
all but its entry. No start-up files are linked, so that `-ffast-math` cannot set flush-to-zero for the caller's process.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from evo.config import Config
from evo.export.choice import Specialist
from fitness.targets.compiling import LINK_FLAGS, compile_flags
from fitness.targets.cpp import CppTarget
from fitness.targets.elf import SharedObject
from fitness.targets.flags import DEFAULT_FLAGS, FLAGS_TUNABLE, parse_flags

__all__ = ["Recipe", "Unit", "recipe"]


@dataclass(frozen=True, slots=True)
class Unit:
    """One kernel's translation unit."""

    symbol: str
    source: str
    workspace: bool
    """Whether it needs scratch memory."""

    @property
    def file(self) -> str:
        return f"{self.symbol}.cpp"

    @property
    def exports(self) -> str:
        names = [self.symbol, *([f"{self.symbol}_workspace"] if self.workspace else [])]
        return f"{{ global: {'; '.join(names)}; local: *; }};\n"


@dataclass(frozen=True, slots=True)
class Recipe:
    units: tuple[Unit, ...]
    commands: tuple[tuple[str, ...], ...]
    """Argument lists with the places {cxx}, {src} and {out}."""
    compiler: str
    version: str
    features: tuple[str, ...]
    """Of the processor, as /proc/cpuinfo names them, that the code may use."""

    def shell(self, module: str) -> list[str]:
        """The commands as lines of a shell script in the package's root."""
        lines = []
        for command in self.commands:
            words = [word.format(cxx="\0", src=f"{module}/csrc", out=module) for word in command[1:]]
            lines.append(f'"${{CXX:-{self.compiler}}}" {shlex.join(words)}')
        return [*lines, f"rm -f {module}/*.o"]


def recipe(module: str, chosen: Sequence[Specialist], config: Config) -> Recipe:
    """How to build the chosen kernels and their dispatcher. Raises what the target raises where there is no compiler."""
    target = CppTarget(config.settings())
    toolchain = target.toolchain
    threads = ("-fopenmp",) if config.target.threads > 1 else ()
    units, commands = [], []
    for number, one in enumerate(chosen):
        symbol = f"{module}_k{number}"
        workspace = "workspace" in SharedObject(target.build(one.kernel).path).exports
        unit = Unit(symbol, one.kernel.source, workspace)
        flags = parse_flags(str(one.kernel.values.get(FLAGS_TUNABLE, DEFAULT_FLAGS)))
        base = compile_flags(toolchain, config.target.threads)
        commands.append(("{cxx}", *base, *flags, "-c", f"{{src}}/{unit.file}", "-o", f"{{out}}/{symbol}.o"))
        renamed = [f"-Wl,--defsym={symbol}=kernel", *([f"-Wl,--defsym={symbol}_workspace=workspace"] if workspace else [])]
        link = [flag for flag in LINK_FLAGS if flag != "-s"]
        kept = ["-Wl,-u,kernel", *(["-Wl,-u,workspace"] if workspace else [])]
        exports = f"-Wl,--version-script={{src}}/{symbol}.map"
        commands.append(("{cxx}", *link, *threads, *kept, *renamed, exports, f"{{out}}/{symbol}.o", "-o", f"{{out}}/lib{symbol}.so", "-lm"))
        units.append(unit)
    libraries = [f"-l{unit.symbol}" for unit in units]
    plain = ("-std=c++17", "-O2", "-fPIC", "-fno-exceptions", "-shared", "-static-libgcc", "-Wl,-rpath,$ORIGIN", "-I{src}")
    commands.append(("{cxx}", *plain, "{src}/dispatch.cpp", "-L{out}", *libraries, "-o", f"{{out}}/lib{module}.so"))
    return Recipe(tuple(units), tuple(commands), toolchain.command.name, toolchain.version, toolchain.features)
