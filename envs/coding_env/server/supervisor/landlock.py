"""Restrict a program to some files with Landlock, which needs no privileges.

A process in a Landlock domain also cannot inspect processes outside of it (their environment, their memory),
and from version 6 of the interface on it cannot send them signals.
Linux: Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterable

from .syscalls import syscall

SIGNALS_SINCE = 6

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1

_EXECUTE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
_WRITE_FILE, _TRUNCATE, _IOCTL_DEVICE = 1 << 1, 1 << 14, 1 << 15
_READ = _EXECUTE | _READ_FILE | _READ_FOLDER
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
# All rights to files, by version of the interface.
_HANDLED = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_HANDLED_SINCE_5 = (1 << 16) - 1
_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("files", "network", "scope")]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def version() -> int:
    """Return the version of the kernel's interface.

    Raises:
        OSError: The kernel has no Landlock, or it is disabled.
    """
    return syscall("landlock", _CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Confine this process and its children to some files and folders, permanently.

    Args:
        readable: Paths that may be read and executed; missing ones are skipped.
        writable: Paths that may be changed, too.

    Raises:
        OSError: The kernel has no Landlock.
    """
    known = version()
    handled = _HANDLED.get(known, _HANDLED_SINCE_5)
    rules = _Ruleset(handled, _TCP, _ABSTRACT_SOCKETS_AND_SIGNALS)
    size = ctypes.c_size_t(24 if known >= SIGNALS_SINCE else 16 if known >= 4 else 8)
    ruleset = syscall("landlock_create_ruleset", _CREATE_RULESET, ctypes.byref(rules), size, 0)
    try:
        for paths, allowed in ((readable, _READ & handled), (writable, handled)):
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    _allow(ruleset, path, allowed)
        syscall("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, allowed: int) -> None:
    folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(folder).st_mode):
            allowed &= _OF_A_FILE
        rule = _PathBeneath(allowed, folder)
        syscall(f"landlock_add_rule for {path}", _ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(folder)
