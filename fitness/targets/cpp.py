"""The `cpp` target: C++ kernels for this machine's CPU, built by GCC or Clang, loaded as shared objects."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from archive.tunables import Value
from fitness.cache import Cache
from fitness.device import Device, cpu_device
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.targets.base import Artifact, BuildFailure, Target, TargetError
from fitness.targets.commands import CommandRunner, confined
from fitness.targets.compiling import Builder, Limits
from fitness.targets.disassembly import disassemble, find_disassembler, parse, reachable
from fitness.targets.flags import DEFAULT_FLAGS, FLAGS_TUNABLE, FlagError, parse_flags
from fitness.targets.instruction_mix import instruction_mix
from fitness.targets.policy import check_flags, check_source
from fitness.targets.tiles import tile_elements
from fitness.targets.toolchain import find_toolchain

if TYPE_CHECKING:
    from fitness.problem import Problem
    from fitness.roofline import Ceilings

__all__ = ["CppTarget"]

SANITIZER = {
    "gcc": ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
    "clang": ("-fsanitize=undefined", "-fsanitize-trap=undefined"),
}
"""By compiler family. After the kernel's own flags, so that they win."""


class CppTarget(Target):
    """C++ for the CPU. Thread-safe; pickles as its settings.

    Raises `TargetError` on construction when there is no compiler or disassembler, `fitness.cache.CacheError` when the
    cache cannot be written.
    """

    name = "cpp"
    language = "cpp"

    def __init__(self, settings: EvaluationSettings | None = None, *, run: CommandRunner | None = None) -> None:
        self.settings = settings or EvaluationSettings()
        self.toolchain = find_toolchain(self.settings.compiler)
        self.cache = Cache(self.settings.cache)
        self._run = run or confined(self.settings.sandbox)
        self._disassembler = find_disassembler()
        limits = Limits(seconds=self.settings.build_timeout)
        self.builder = Builder(self.cache, self.toolchain, self._run, threads=self.settings.threads, limits=limits)
        self._device: Device | None = None
        self._mixes: dict[str, dict[str, Value]] = {}

    def __reduce__(self) -> tuple[type[CppTarget], tuple[EvaluationSettings]]:
        return CppTarget, (self.settings,)

    def policy(self, kernel: Kernel) -> Diagnostic | None:
        finding = check_source(kernel.source, threads=self.settings.threads)
        if finding is not None:
            return finding
        declared = next((each for each in kernel.tunables if each.name == FLAGS_TUNABLE), None)
        return check_flags(str(declared.value), declared.line) if declared is not None else None

    def build(self, kernel: Kernel) -> Artifact:
        """Also raises `fitness.cache.CacheError` on a full disk."""
        return self.builder.build(kernel.source, self._flags(kernel))

    def instrumented(self, kernel: Kernel) -> Artifact:
        """With UBSan's checks, each of which traps: no run-time library, nothing printed, nothing to link."""
        return self.builder.build(kernel.source, (*self._flags(kernel), *SANITIZER[self.toolchain.family]))

    def _flags(self, kernel: Kernel) -> tuple[str, ...]:
        if kernel.language != self.language:
            message = f"found a kernel in {kernel.language}, expected {self.language}"
            raise BuildFailure(Outcome.BUILD_ERROR, Diagnostic("build", "wrong_language", message))
        try:
            return parse_flags(str(kernel.values.get(FLAGS_TUNABLE, DEFAULT_FLAGS)))
        except FlagError as error:
            raise BuildFailure(Outcome.REJECTED, Diagnostic("policy", "forbidden_flag", str(error))) from error

    def program(self, artifact: Artifact) -> Program:
        return Program(kind="native", path=artifact.path, entry="kernel")

    def describe(self, artifact: Artifact, kernel: Kernel, problem: Problem | None = None) -> dict[str, Value]:
        """The facts of `instruction_mix`, and

        * `uses_threads`: whether it calls the OpenMP runtime;
        * `tile_elements`: product of the integer TILE* and BLOCK* tunables, 1 without any;
        * `working_set`: bytes of all inputs and outputs of the problem's first shape; 0 without a problem;
        * `tunable.NAME`: the value of each tunable.

        Raises `BuildFailure`.
        """
        facts = dict(self._mix(artifact))
        calls = str(facts["library_calls"]).split()
        facts["uses_threads"] = any(name.startswith(("GOMP_", "__kmpc_")) for name in calls)
        facts["tile_elements"] = tile_elements(kernel.values)
        facts["working_set"] = problem.footprint(problem.shapes[0]) if problem is not None else 0
        return facts | {f"tunable.{name}": value for name, value in kernel.values.items()}

    def _mix(self, artifact: Artifact) -> dict[str, Value]:
        """Facts of the machine code, remembered by its hash: kernels that differ in dead tunables share them."""
        found = self._mixes.get(artifact.hash)
        if found is None:
            try:
                listing = disassemble(artifact.path, self._run, self._disassembler)
            except TargetError as error:
                diagnostic = Diagnostic("describe", "unreadable_object", str(error))
                raise BuildFailure(Outcome.INFRASTRUCTURE_ERROR, diagnostic) from error
            found = self._mixes[artifact.hash] = instruction_mix(reachable(*parse(listing)))
        return found

    def device(self) -> Device:
        if self._device is None:
            chain = self.toolchain
            self._device = cpu_device(chain.features, chain.vector_bits, chain.version, self.ceilings)
        return self._device

    def ceilings(self, refresh: bool = False) -> Ceilings:
        """Of the measuring core, with this compiler; measured once per machine (two seconds), then from the cache."""
        from fitness.roofline import ceilings

        core = self.settings.core if self.settings.core is not None else max(os.sched_getaffinity(0))
        return ceilings(self.cache, core, self.toolchain, threads=self.settings.threads, refresh=refresh)
