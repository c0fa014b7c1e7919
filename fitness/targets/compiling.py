"""One kernel's text made into a shared object, within limits, every failure explained."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from archive.evaluation import Diagnostic, Outcome
from fitness.cache import Cache, Entry, content_key
from fitness.targets.base import Artifact, BuildFailure
from fitness.targets.census import EXPORTS, check_object
from fitness.targets.commands import CommandRunner, Finished
from fitness.targets.compiler_messages import explain
from fitness.targets.ctokens import SourceError, read
from fitness.targets.elf import ElfError, SharedObject
from fitness.targets.precompiled import PrecompiledHeaders
from fitness.targets.toolchain import Toolchain

__all__ = ["BASE_FLAGS", "LINK_FLAGS", "Builder", "Limits", "compile_flags"]

KIND = "build"
RECIPE = "4"
"""Changed whenever the same text and flags would be built differently."""

BASE_FLAGS = (
    "-std=gnu++20", "-fPIC", "-fno-semantic-interposition", "-fopenmp-simd",
    # a kernel is called through the C ABI: nothing may be thrown out of it, and nobody unwinds it
    "-fno-exceptions", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
    # what distributions switch on differs; none of it belongs into a kernel's time
    "-fno-stack-protector", "-fcf-protection=none", "-U_FORTIFY_SOURCE",
    "-ffunction-sections", "-fdata-sections", "-g0", "-w",
    "-fno-diagnostics-color", "-fmax-errors=20",
)  # fmt: skip
_CLANG = {"-fmax-errors=20": "-ferror-limit=20", "-fno-diagnostics-color": "-fno-color-diagnostics"}

LINK_FLAGS = (
    # no start-up files: crtfastmath would set flush-to-zero for the whole process, and nothing runs at load time
    "-shared", "-nostartfiles", "-static-libgcc", "-s",
    "-Wl,-z,defs", "-Wl,-z,now", "-Wl,-z,noexecstack", "-Wl,--build-id=none", "-Wl,--as-needed", "-Wl,--gc-sections",
)  # fmt: skip
VERSION_SCRIPT = "{ global: " + "; ".join(EXPORTS) + "; local: *; };\n"


SOURCE = "kernel.cpp"


_NOT_STARTED = re.compile(r"(bwrap|evo-sandbox): [^\n]*")
"""All that is said where the sandbox, or the compiler in it, could not be started."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one compile or link."""

    seconds: float = 60.0
    memory: int = 2 << 30
    output: int = 1 << 20
    """Bytes of messages."""
    object: int = 64 << 20
    """Bytes of the built object."""


def compile_flags(toolchain: Toolchain, threads: int = 1) -> tuple[str, ...]:
    """What every kernel is compiled with, before its own flags."""
    base = [_CLANG.get(flag, flag) if toolchain.family == "clang" else flag for flag in BASE_FLAGS]
    if "__x86_64__" not in toolchain.macros:
        base.remove("-fcf-protection=none")
    return (*base, *toolchain.machine_flags, *(("-fopenmp",) if threads > 1 else ()))


class Builder:
    """Builds through a cache. Thread-safe; several processes may share the cache."""

    def __init__(self, cache: Cache, toolchain: Toolchain, run: CommandRunner, *, threads: int = 1, limits: Limits = Limits()) -> None:
        self.cache, self.toolchain, self.run, self.threads, self.limits = cache, toolchain, run, threads, limits
        self._headers = PrecompiledHeaders(cache, toolchain, run)
        self._base = compile_flags(toolchain, threads)

    def build(self, source: str, flags: Sequence[str]) -> Artifact:
        """`flags` come after the base flags and so win. Raises `BuildFailure`, `fitness.cache.CacheError`."""
        start = time.perf_counter()
        key = content_key(RECIPE, self.toolchain.identity, str(self.threads), *self._base, *flags, "\0", source)
        entry = self.cache.get(KIND, key)
        cached = entry is not None
        if entry is None:
            entry = self._make(key, source, flags, start)
        facts = json.loads(entry.read("facts.json"))
        if "failure" in facts:
            failure = facts["failure"]
            raise BuildFailure(Outcome(facts["outcome"]), Diagnostic(**failure), time.perf_counter() - start)
        seconds = 0.0 if cached else time.perf_counter() - start
        return Artifact(entry.path("kernel.so"), facts["hash"], seconds, cached, {"object_bytes": facts["object_bytes"]})

    def _make(self, key: str, source: str, flags: Sequence[str], start: float) -> Entry:
        with self.cache.scratch() as scratch:
            try:
                built = self._compile(scratch, source, flags)
                object_ = SharedObject(built)
                verdict = check_object(object_, self.threads)
                if verdict is not None:
                    raise BuildFailure(*verdict)
                facts = {"hash": object_.content_hash(), "object_bytes": built.stat().st_size}
                return self.cache.put(KIND, key, {"kernel.so": built, "facts.json": json.dumps(facts).encode()})
            except ElfError as error:
                diagnostic = Diagnostic("build", "damaged_object", f"The compiler left something that is no shared object: {error}.")
                raise BuildFailure(Outcome.BUILD_ERROR, diagnostic, time.perf_counter() - start) from error
            except BuildFailure as failure:
                failure.seconds = time.perf_counter() - start
                if not (scratch / SOURCE).exists():
                    raise BuildFailure(Outcome.INFRASTRUCTURE_ERROR, _vanished(scratch), failure.seconds) from failure
                if failure.outcome.reusable:
                    facts = {"outcome": failure.outcome.value, "failure": asdict(failure.diagnostic)}
                    self.cache.put(KIND, key, {"facts.json": json.dumps(facts).encode()})
                raise

    def _compile(self, scratch: Path, source: str, flags: Sequence[str]) -> Path:
        text, object_, library, script = (scratch / name for name in (SOURCE, "kernel.o", "kernel.so", "exports"))
        text.write_bytes(source.encode("utf-8", "surrogatepass"))
        script.write_text(VERSION_SCRIPT)
        command = str(self.toolchain.command)
        every = (*self._base, *flags)
        argv = [command, *every, f"-ffile-prefix-map={scratch}=.", "-pipe", "-c", str(text), "-o", str(object_)]
        headers = self._header_folder(source, every)
        try:
            using = ("-include", str(headers / "headers.h")) if headers else ()
            self._run("compile", [*argv, *using], source, scratch, headers)
        except BuildFailure as failure:
            if headers is None or failure.outcome is not Outcome.BUILD_ERROR:
                raise
            # Never the fault of a precompiled header (deleted meanwhile, say): the verdict is that on the text alone.
            self._run("compile", argv, source, scratch, None)
        threads = ("-fopenmp",) if self.threads > 1 else ()
        argv = [command, *LINK_FLAGS, *threads, f"-Wl,--version-script={script}", str(object_), "-o", str(library), "-lm"]
        self._run("link", argv, source, scratch, None)
        if library.stat().st_size > self.limits.object:
            size = library.stat().st_size
            message = f"The built object has {size} bytes, at most {self.limits.object} are allowed. Make its tables smaller."
            raise BuildFailure(Outcome.BUILD_ERROR, Diagnostic("build", "object_too_large", message, {"bytes": size}))
        return library

    def _header_folder(self, source: str, flags: Sequence[str]) -> Path | None:
        try:
            return self._headers.folder(read(source), flags)
        except SourceError:
            return None  # the compiler will say it better

    def _run(self, step: str, argv: Sequence[str], source: str, scratch: Path, headers: Path | None) -> None:
        read_ = (headers,) if headers else ()
        limits = self.limits
        done = self.run(argv, read=read_, write=scratch, timeout=limits.seconds, memory=limits.memory, output_limit=limits.output)
        if done.ended != "exit" or done.status != 0:
            raise BuildFailure(*_failure(step, done, source, self.limits))


def _vanished(scratch: Path) -> Diagnostic:
    """Somebody emptied the cache while a compiler worked in it: whatever it said then is not about the kernel."""
    return Diagnostic("build", "cache_vanished", f"The folder of the build, {scratch}, was deleted while it was in use.")


def _failure(step: str, done: Finished, source: str, limits: Limits) -> tuple[Outcome, Diagnostic]:
    facts = {"seconds": round(done.seconds, 3), "output": done.output[:2000]}
    if done.ended == "exit" and _NOT_STARTED.fullmatch(done.output.strip()):
        message = f"The {step} could not be started in the sandbox: {done.output.strip()[:300]}. Run `evo doctor`."
        return Outcome.INFRASTRUCTURE_ERROR, Diagnostic("build", f"{step}_not_started", message, facts)
    if done.ended == "timeout" or "CPU time limit exceeded" in done.output:
        message = f"The {step} ran over its limit of {limits.seconds:g} s. Unroll and instantiate less."
        return Outcome.TIMEOUT, Diagnostic("build", f"{step}_timeout", message, {"limit": limits.seconds, **facts})
    if done.ended == "output":
        first = explain(done.output[:20000], source, stage=step).message
        message = f"The {step} wrote more than {limits.output} bytes of messages. It began: {first}"
        return Outcome.BUILD_ERROR, Diagnostic("build", f"{step}_output", message, {"limit": limits.output, **facts})
    if _ran_out_of_memory(done):
        message = f"The {step} needed more than {limits.memory >> 20} MiB. Unroll and instantiate less, make constant tables smaller."
        return Outcome.OUT_OF_MEMORY, Diagnostic("build", f"{step}_memory", message, {"limit": limits.memory, **facts})
    if "File size limit exceeded" in done.output or "File too large" in done.output:
        message = "The object would be larger than a kernel's may. Make its constant tables smaller or compute them."
        return Outcome.BUILD_ERROR, Diagnostic("build", "object_too_large", message, facts)
    return Outcome.BUILD_ERROR, explain(done.output, source, stage=step)


def _ran_out_of_memory(done: Finished) -> bool:
    signs = ("out of memory", "memory exhausted", "std::bad_alloc", "Cannot allocate memory", "Killed signal terminated program")
    return done.status == -9 or any(sign in done.output for sign in signs)
