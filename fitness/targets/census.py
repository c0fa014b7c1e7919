"""What a built kernel exports, imports and runs at load time, against what a kernel may.

The policy reads the text, which can be dressed up; this reads the object that the compiler made of it.
"""

from __future__ import annotations

import re

from archive.evaluation import Diagnostic, Outcome
from fitness.targets.elf import SharedObject

__all__ = ["EXPORTS", "check_object"]

EXPORTS = ("kernel", "workspace", "prepare")
"""Symbols that stay visible: the kernel, which must exist, and its optional companions."""

_LIBRARIES = re.compile(r"(libm|libmvec|libc|libgcc_s|libstdc\+\+|libc\+\+|ld-linux[\w-]*)\.so(\.\d+)*")
_THREAD_LIBRARIES = re.compile(r"(libgomp|libomp|libpthread)\.so(\.\d+)*")
_MATH = (
    "a?(cos|sin|tan)h?|atan2|exp2?|exp10|expm1|log2?|log10|log1p|pow|sqrt|cbrt|hypot|erfc?|[lt]gamma|lgamma_r|gamma|fma|fmod|fdim|fmax|fmin|fabs"
    "|ceil|floor|round|roundeven|trunc|rint|nearbyint|ll?rint|ll?round|frexp|ldexp|scalb(n|ln)|logb|ilogb|modf|remainder|remquo|copysign|nextafter"
    "|nexttoward|nan|sincos|j[01n]|y[01n]|cexp|clog|csqrt|cabs|cpow|carg|csin|ccos"
)
_IMPORTS = re.compile(
    rf"(__)?({_MATH})(f|l|f16|f32|f64|f128)?(_finite)?"
    r"|_ZGV[a-z]\w+"  # vector variants of libmvec
    r"|(__)?(mem(cpy|move|set|cmp|chr)|bcmp|strlen)(_chk)?"
    r"|malloc|calloc|realloc|free|aligned_alloc|posix_memalign"
    r"|_Zn[wa]m\w*|_Zd[la]Pv\w*|_ZSt\d+__throw_\w+|_ZSt7nothrow"
    r"|__cxa_(guard_\w+|finalize|pure_virtual)|__(stack_chk_fail|tls_get_addr|errno_location|gmon_start__)"
    r"|_Unwind_Resume|__gxx_personality_v0|_ITM_\w+|_GLOBAL_OFFSET_TABLE_|__(div|mul|add|sub|float|fix|ext|trunc|gcc_)\w+"
    r"|_ZSt\d+_(Rb_tree|Hash)\w*"
)
_THREAD_IMPORTS = re.compile(r"GOMP_\w+|__kmpc_\w+|omp_(get_(thread_num|num_threads|max_threads|num_procs|level)|in_parallel)|(un)?lock")


def check_object(object_: SharedObject, threads: int = 1) -> tuple[Outcome, Diagnostic] | None:
    """None for an acceptable object, else how the evaluation ends and why."""
    if "kernel" not in object_.exports:
        others = ", ".join(sorted(object_.exports)) or "nothing"
        message = (
            f"The built object exports {others}, expected a function `kernel`. Declare it "
            '`extern "C" void kernel(const T* in…, T* out…, void* workspace, int64_t sizes…)`, not static.'
        )
        return Outcome.BUILD_ERROR, Diagnostic("build", "missing_symbol", message, {"exports": sorted(object_.exports)})
    if object_.load_time_code:
        found = ", ".join(object_.load_time_code)
        what = "a global with a run-time initialiser or destructor, or a constructor"
        message = f"The object would run code when it is loaded ({found}): {what}. Make it constexpr, or compute it in the kernel."
        return Outcome.REJECTED, Diagnostic("build", "load_time_code", message, {"found": list(object_.load_time_code)})
    bad = sorted(name for name in object_.imports if not _may_import(name, threads))
    if bad:
        names = ", ".join(bad[:10])
        message = f"The object calls {names}, expected only libm, memory and string functions. Compute it in the kernel itself."
        return Outcome.REJECTED, Diagnostic("build", "forbidden_import", message, {"imports": bad[:50]})
    libraries = [name for name in object_.needed if not _may_need(name, threads)]
    if libraries:
        message = f"The object needs {', '.join(libraries)}, expected no library but libm. Compute it in the kernel itself."
        return Outcome.REJECTED, Diagnostic("build", "forbidden_library", message, {"libraries": libraries})
    return None


def _may_import(name: str, threads: int) -> bool:
    return bool(_IMPORTS.fullmatch(name)) or (threads > 1 and bool(_THREAD_IMPORTS.fullmatch(name)))


def _may_need(library: str, threads: int) -> bool:
    return bool(_LIBRARIES.fullmatch(library)) or (threads > 1 and bool(_THREAD_LIBRARIES.fullmatch(library)))
