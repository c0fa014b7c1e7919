"""The GPU zygote: torch and triton imported, no CUDA context; forks builders and runners. Runs inside the sandbox.

Messages (JSON on a SOCK_SEQPACKET socket), parent → zygote: {"child": id, "work": a name of WORK, …} + [channel, output];
zygote → parent: {"ready": true, …}, {"forked": id, "pid": pid as the zygote sees it}, {"ended": id, "status": wait status}.
A `{"kill": id}` ends a child and its session. When the parent dies its socket closes, and everything here ends with it.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import gc
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
from typing import Any

from fitness.gpu import compiling, interpreter, launcher, module, runner

__all__ = ["main"]

WORK = {"build": compiling.serve, "run": runner.serve, "launch": launcher.serve, "interpret": interpreter.serve, "module": module.serve}
PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000


class _Zygote:
    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._children: dict[int, int] = {}
        self._wake, write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._parent.fileno(), select.POLLIN)
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
        data, ancillary, _flags, _address = self._parent.recvmsg(1 << 16, socket.CMSG_SPACE(64))
        if not data:
            return False
        fds = array.array("i")
        for _level, _kind, payload in ancillary:
            fds.frombytes(payload)
        message = json.loads(data)
        if "kill" in message:
            for pid, number in self._children.items():
                if number == message["kill"]:
                    for kill in (os.kill, os.killpg):
                        with contextlib.suppress(ProcessLookupError, PermissionError):
                            kill(pid, signal.SIGKILL)
            return True
        pid = os.fork()
        if pid == 0:
            self._become(message, list(fds))
        for fd in fds:
            os.close(fd)
        self._children[pid] = message["child"]
        self._tell({"forked": message["child"], "pid": pid})
        return True

    def _become(self, message: dict[str, Any], fds: list[int]) -> None:
        try:
            parent = os.getppid()
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(71)
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._parent.detach()
            channel, output = (os.dup2(fd, 64 + i) for i, fd in enumerate(fds))
            null = os.open("/dev/null", os.O_RDWR)
            for source, target in ((null, 0), (output, 1), (output, 2), (channel, 3)):
                os.dup2(source, target, inheritable=target != 3)
            os.closerange(4, 256)
            if message["work"] == "build":
                os.nice(10)  # builds give way to the referee, which spins while it times
            home = _private_folder(_home(os.getpid()))
            for name, value in message.get("limits", {}).items():
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
            WORK[message["work"]](socket.socket(fileno=3), home, message)
            os._exit(0)
        except BaseException:
            import traceback

            with contextlib.suppress(BaseException):
                os.write(2, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(70)

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
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)  # whatever it left behind
                shutil.rmtree(_home(pid), ignore_errors=True)
                self._tell({"ended": number, "status": status, "peak": usage.ru_maxrss << 10})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._parent.send(json.dumps(message).encode())


def _home(pid: int) -> str:
    """Of the child `pid`; the zygote, which sees the same /tmp, removes it after the child's end."""
    return f"/tmp/evo-{pid}"


def _private_folder(home: str) -> str:
    """An empty folder of this child's own; where the kernel allows it on a tmpfs that no sibling can see."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.geteuid(), os.getegid()
    with contextlib.suppress(OSError):
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0:
            for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
                with open(f"/proc/self/{file}", "w") as handle:
                    handle.write(text)
            libc.mount(b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(2 | 4), b"size=2g,mode=1777")
    import tempfile

    if os.path.lexists(home):  # a number that came round again, and a removal that failed
        home = tempfile.mkdtemp(prefix="evo-", dir="/tmp")
    else:
        os.mkdir(home, 0o700)
    os.environ.update(HOME=home, TMPDIR=home, TRITON_CACHE_DIR=f"{home}/triton", TORCHINDUCTOR_CACHE_DIR=f"{home}/inductor")
    tempfile.tempdir = home
    os.chdir(home)
    return home


def main(fd: int, paths: list[str], device: bool) -> None:
    """Serves the parent at the other end of socket `fd`. paths: folders for sys.path. device: whether runners will use one."""
    sys.path.extend(paths)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = socket.socket(fileno=fd)
    os.environ.setdefault("TRITON_CACHE_DIR", "/tmp/triton-zygote")
    import torch
    import triton
    import triton.language
    from triton.compiler import compiler as _compiler  # noqa: F401  (warm)

    with contextlib.nullcontext() if device else contextlib.suppress(Exception):  # builders work without a driver too
        from triton.backends.nvidia.driver import CudaDriver

        triton.runtime.driver.set_active(CudaDriver())  # loads its helper library once, here; makes no context
    zygote = _Zygote(parent)
    gc.collect()
    gc.freeze()
    parent.send(json.dumps({"ready": True, "torch": torch.__version__, "triton": triton.__version__}).encode())
    zygote.run()
