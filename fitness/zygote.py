"""The zygote: a light process in the sandbox that has imports done and forks single-use runners. Standard library only.

It never runs untrusted code itself and never shares memory with a runner after the fork, so what it reports is trusted: that a runner was
forked, and how it ended (wait status, peak resident size). When the referee dies, its socket closes, the zygote ends, and every runner
dies with it (PR_SET_PDEATHSIG).

Messages (JSON on a SOCK_SEQPACKET socket), referee → zygote: {"fork": id, …runner config} + descriptors [control, go, done, output];
zygote → referee: {"ready": true, …}, {"forked": id}, {"ended": id, "status": wait status, "peak": KiB}.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
from importlib.machinery import ModuleSpec
from typing import Any

from fitness import runner
from fitness.sandbox import seccomp

__all__ = ["main"]

PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
_WARM = ("libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libgomp.so.1")
"""Libraries that most kernels need: mapped and relocated once, here, instead of in every runner."""

_MALLOPT = ((-3, 32 << 20), (-1, 64 << 20))
"""M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, in bytes: what glibc comes to by itself in a process that has freed a large array once, as
its users' processes have. Else a fresh process takes every large temporary from the system and gives it back, call after call, and
the page faults (measured: up to five sixths of a NumPy expression's time) flatter whatever it is compared with."""


class _Zygote:
    def __init__(self, referee: socket.socket) -> None:
        self._referee = referee
        self._children: dict[int, int] = {}
        self._libc = ctypes.CDLL(None, use_errno=True)
        with contextlib.suppress(AttributeError):  # not glibc
            for parameter, value in _MALLOPT:
                self._libc.mallopt(parameter, value)
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._referee.fileno(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            for fd, _events in poll.poll():
                if fd == self._wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake, 4096)
                    self._reap()
                elif not self._obey():
                    return

    def _obey(self) -> bool:
        data, ancillary, _flags, _address = self._referee.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        if not data:
            return False
        fds = array.array("i")
        for _level, _kind, payload in ancillary:
            fds.frombytes(payload)
        message = json.loads(data)
        pid = os.fork()
        if pid == 0:
            self._become_runner(message, list(fds))
        for fd in fds:
            os.close(fd)
        self._children[pid] = message["fork"]
        return True

    def _become_runner(self, config: dict[str, Any], fds: list[int]) -> None:
        status = runner.BROKEN
        try:
            parent = os.getppid()
            self._libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(71)
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._referee.detach()
            safe = [os.dup2(fd, 64 + i) for i, fd in enumerate(fds)]
            control, go, done, output = safe
            null = os.open("/dev/null", os.O_RDWR)
            for source, target in ((null, 0), (output, 1), (output, 2), (control, runner.CONTROL), (go, runner.GO), (done, runner.DONE)):
                os.dup2(source, target, inheritable=False)
            os.closerange(6, 256)
            self._libc.prctl(PR_SET_NAME, b"evo-runner", 0, 0, 0)
            runner.serve(config)
        except BaseException:
            import traceback

            with contextlib.suppress(BaseException):
                os.write(2, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._children.pop(pid, None)
            if number is not None:
                report = json.dumps({"ended": number, "status": status, "peak": usage.ru_maxrss})
                with contextlib.suppress(OSError):
                    self._referee.send(report.encode(), socket.MSG_DONTWAIT)  # never wait for a referee that does not listen


def _probe_listener() -> tuple[bool, bool]:
    """(a seccomp filter can be installed, with a listener), found out by trying in a child."""
    for listener in (True, False):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                seccomp.install(seccomp.assemble([], seccomp.ALLOW), listener=listener)
                code = 0
            finally:
                os._exit(code)
        if os.waitpid(pid, 0)[1] == 0:
            return True, listener
    return False, False


class _Finder:
    """Finds top-level modules by where they lie: where Landlock confines us, the folder they lie in may not be listed, as Python's own
    finder would; and nothing else that is installed beside them can be imported."""

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        place = self._known.get(name)
        if place is None:
            return None
        if not os.path.isdir(place):
            return importlib.util.spec_from_file_location(name, place)
        if os.path.exists(f"{place}/__init__.py"):
            return importlib.util.spec_from_file_location(name, f"{place}/__init__.py", submodule_search_locations=[place])
        namespace = ModuleSpec(name, None, is_package=True)
        namespace.submodule_search_locations = [place]
        return namespace


def main(fd: int, preload: list[str], known: dict[str, str], cores: list[int]) -> None:
    """Serves the referee at the other end of socket `fd` until it closes. preload: modules to import before forking. known: where
    modules lie that are not of the standard library. cores: where to run."""
    os.sched_setaffinity(0, cores)
    if os.getpriority(os.PRIO_PROCESS, 0) < 0:  # started while the referee was in a hurry
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    sys.meta_path.append(_Finder(known))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the referee's business
    referee = socket.socket(fileno=fd)
    for name in _WARM:
        with contextlib.suppress(OSError):
            ctypes.CDLL(name)
    for name in preload:
        importlib.import_module(name)
    filtered, listener = _probe_listener()
    zygote = _Zygote(referee)
    gc.collect()
    gc.freeze()
    gc.disable()
    referee.send(json.dumps({"ready": True, "seccomp": filtered, "listener": listener, "python": sys.version.split()[0]}).encode())
    zygote.run()
