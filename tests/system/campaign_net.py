# SPDX-License-Identifier: BSD-3-Clause
"""
The network of one run: two network namespaces, one for each side, with a link between them, and a
mount namespace. They belong to this process, so that nothing of them is left when it ends, however
it ends. Where they cannot be made, both sides share the host's loopback, and `apart` is False.
"""
import contextlib
import ctypes
import os
import subprocess
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
MS_REC_PRIVATE, PR_SET_PDEATHSIG, SIGKILL = 0x44000, 1, 9
SOURCE_IP, TARGET_IP = "10.77.0.1", "10.77.0.2"


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def own_namespace():
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net",
                   os.O_RDONLY | os.O_CLOEXEC)


class Net:
    """Namespaces: 1 is the source's and this process's, 2 the target's."""

    def __init__(self):
        self.apart, self.why, self.ns = False, "", {}
        if LIBC.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
            self.why = os.strerror(ctypes.get_errno())
            return
        LIBC.mount(None, b"/", None, MS_REC_PRIVATE, None)
        self.ns[1] = own_namespace()
        LIBC.unshare(CLONE_NEWNET)
        self.ns[2] = own_namespace()
        ip("link", "set", "lo", "up")
        LIBC.setns(self.ns[1], CLONE_NEWNET)
        ip("link", "set", "lo", "up")
        there = f"/proc/{os.getpid()}/fd/{self.ns[2]}"
        ip("link", "add", "va", "type", "veth", "peer", "name", "vb", "netns", there)
        ip("addr", "add", SOURCE_IP + "/30", "dev", "va")
        ip("link", "set", "va", "up")
        with self.inside(2):
            ip("addr", "add", TARGET_IP + "/30", "dev", "vb")
            ip("link", "set", "vb", "up")
        self.apart = True

    @contextlib.contextmanager
    def inside(self, side):
        """This thread, in a side's namespace: what it opens there stays there."""
        if not self.ns:
            yield
            return
        LIBC.setns(self.ns[side], CLONE_NEWNET)
        try:
            yield
        finally:
            LIBC.setns(self.ns[1], CLONE_NEWNET)

    def link(self, up):
        ip("link", "set", "va", "up" if up else "down")

    def enter(self, side, nice=0):
        """For a child, before it becomes its program: there, and not longer than this process."""
        parent, fd = os.getpid(), self.ns.get(side)

        def child():
            if fd is not None:
                LIBC.setns(fd, CLONE_NEWNET)
            LIBC.prctl(PR_SET_PDEATHSIG, SIGKILL)
            os.nice(nice)
            if os.getppid() != parent:
                os._exit(1)
        return child


def mount_tmpfs(path, size_kib):
    """A small file system of our own; False if we may not."""
    os.makedirs(path, exist_ok=True)
    return LIBC.mount(b"tmpfs", path.encode(), b"tmpfs", 0, f"size={size_kib}k".encode()) == 0
