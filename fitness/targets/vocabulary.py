"""The words the policy knows: headers, directives, attributes and pragmas that kernels may use, names that they may not."""

from __future__ import annotations

__all__ = [
    "ALSO_ORDINARY",
    "ATTRIBUTES",
    "DIRECTIVES",
    "FORBIDDEN_NAMES",
    "FORBIDDEN_PREFIXES",
    "HEADERS",
    "MAX_SOURCE",
    "NAMESPACES",
    "STAMPS",
    "THREAD_HEADERS",
]

MAX_SOURCE = 1 << 20
"""Bytes of the longest kernel text."""

_HEADER_NAMES = """
    immintrin.h x86intrin.h xmmintrin.h emmintrin.h pmmintrin.h tmmintrin.h smmintrin.h nmmintrin.h arm_neon.h arm_sve.h
    experimental/simd simd
    algorithm array bit cfloat climits cmath complex concepts cstddef cstdint cstdlib cstring float.h functional initializer_list
    limits limits.h math.h memory new numbers numeric optional ranges span stddef.h stdfloat stdint.h stdlib.h string.h tuple
    type_traits utility vector version
"""
HEADERS = frozenset(_HEADER_NAMES.split())
THREAD_HEADERS = frozenset({"omp.h"})

_DIRECTIVE_NAMES = "define undef if ifdef ifndef elif elifdef elifndef else endif error warning pragma include"
DIRECTIVES = frozenset(_DIRECTIVE_NAMES.split())

_ATTRIBUTE_NAMES = """
    aligned vector_size ext_vector_type always_inline noinline gnu_inline hot cold pure const unused optimize target flatten
    assume_aligned alloc_align may_alias nonnull noclone no_icf fallthrough packed leaf nothrow simd malloc artificial noipa
    likely unlikely nodiscard maybe_unused assume no_unique_address noreturn deprecated returns_nonnull mode visibility returns_twice
    no_sanitize no_instrument_function optnone minsize min_vector_width preferred_type carries_dependency noescape unroll_hint nodebug
"""
ATTRIBUTES = frozenset(_ATTRIBUTE_NAMES.split())
NAMESPACES = frozenset({"gnu", "clang", "using", "__gnu__"})

_CALLS = {
    "process": "system popen fork vfork clone clone3 execl execlp execle execv execvp execve execveat execvpe posix_spawn posix_spawnp "
    "kill raise abort exit _exit _Exit quick_exit atexit at_quick_exit signal sigaction ptrace prctl "
    "setrlimit syscall wait waitpid setjmp longjmp",
    "file": "open openat creat fopen freopen fdopen tmpfile mkstemp unlink rename remove mkdir ioctl fcntl dup dup2 pipe "
    "printf fprintf puts putchar fputs fwrite perror scanf fgets getline",
    "memory mapping": "mmap munmap mprotect mremap madvise shm_open memfd_create process_vm_readv process_vm_writev brk sbrk",
    "network": "socket connect bind listen accept send sendto recv recvfrom getaddrinfo gethostbyname",
    "library loading": "dlopen dlmopen dlsym dlvsym dladdr dl_iterate_phdr",
    "thread": "pthread_create pthread_self pthread_setaffinity_np sched_setaffinity sched_yield thrd_create",
    "clock": "clock_gettime gettimeofday clock time times getrusage nanosleep usleep sleep __rdtsc __rdtscp _rdtsc "
    "__builtin_ia32_rdtsc __builtin_ia32_rdtscp __rdpmc",
    "random number": "rand random srand drand48 getrandom getentropy _rdrand16_step _rdrand32_step _rdrand64_step _rdseed16_step "
    "_rdseed32_step _rdseed64_step",
    "environment": "getenv secure_getenv setenv putenv environ getpid getppid gettid getcpu sched_getcpu",
    "library": "cblas_sgemm cblas_dgemm cblas_sgemv cblas_saxpy sgemm_ dgemm_ sgemv_ mkl_sgemm dnnl_sgemm fftwf_execute PyObject_Call",
}
FORBIDDEN_NAMES = {name: group for group, names in _CALLS.items() for name in names.split()}
FORBIDDEN_PREFIXES = {"cblas_": "library", "LAPACKE_": "library", "mkl_": "library", "pthread_": "thread", "PyEval_": "library"}
_ORDINARY_NAMES = """
accept abort bind clock clone connect dup exit kill listen open pipe puts raise random remove rename send signal sleep
system time times wait
"""
ALSO_ORDINARY = frozenset(_ORDINARY_NAMES.split())
"""Words that are also good names for a variable: refused only where they are called."""

STAMPS = frozenset({"__DATE__", "__TIME__", "__TIMESTAMP__"})
