"""System calls without a function in Python 3.11."""

from __future__ import annotations

import ctypes
import os
import platform

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
_MNT_DETACH = 0x2

_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_SETATTR = 442  # the same number on all architectures, like all since 424
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def checked(result: int, call: str) -> int:
    """Return the result of a call.

    Raises:
        OSError: It failed.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def syscall(name: str, number: int, *arguments: object) -> int:
    """Make any system call. Raises what `checked` does."""
    return checked(_libc.syscall(ctypes.c_long(number), *arguments), name)


def prctl(option: int, value: int, pointer: object = None) -> None:
    """Set an attribute of this process."""
    zero = ctypes.c_ulong(0)
    third = zero if pointer is None else pointer
    checked(_libc.prctl(option, ctypes.c_ulong(value), third, zero, zero), f"prctl({option})")


def unshare(flags: int) -> None:
    """Move this process (for a PID namespace, its future children) to new namespaces."""
    checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str = "") -> None:
    """Mount a file system."""
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    checked(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), f"mount on {target}")


def make_read_only(target: str) -> None:
    """Make a mount, and all mounts below it, read-only."""
    attributes = _MountAttributes(attr_set=_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    arguments = (_AT_FDCWD, target.encode(), _AT_RECURSIVE, ctypes.byref(attributes), size)
    syscall(f"mount_setattr on {target}", _MOUNT_SETATTR, *arguments)


def change_root(new_root: str) -> None:
    """Make a mount the root folder; the old root becomes unreachable."""
    os.chdir(new_root)
    syscall("pivot_root", _PIVOT_ROOT[platform.machine()], b".", b".")
    checked(_libc.umount2(b".", _MNT_DETACH), "umount2")
    os.chdir("/")
