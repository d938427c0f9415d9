"""Deny system calls to a program with a seccomp filter.

A filter is a program for the kernel's classic BPF machine (Linux: Documentation/userspace-api/
seccomp_filter.rst). All children inherit it, and it cannot be removed.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Iterable

from .syscalls import PR_SET_SECCOMP, prctl

_MODE_FILTER = 2
_LOAD_WORD, _JUMP_IF_EQUAL, _JUMP_IF_AT_LEAST, _JUMP_IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_ARGUMENTS = 0, 4, 16
_X32 = 0x40000000

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# Numbers on x86_64 and on aarch64.
_ALWAYS_REFUSED = {
    # Other processes' memory and descriptors.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # New namespaces, in which a program would have capabilities, and mounts.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    # Memory that belongs to no process, so it would not be counted.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    # Parts of the kernel that programs rarely need and attackers like. io_uring opens sockets as well.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_NEW_NAMESPACES = 0x7E020000

# Even in a namespace, a program could change the limits of its supervisor.
_ON_ITSELF_ALONE = {
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
}

# Without namespaces: the network, leaving the process group, and calls that act on any process.
_REFUSED_AMONG_OTHERS = {
    "socket": (41, 198),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "process_madvise": (440, 440),
}
_SIGNALS_REFUSED = {
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
}
_SIGNALS_TO_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}
_FCNTL, _SIGNALS_BY_FCNTL = (72, 25), (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX
_IOCTL, _SIGNALS_BY_IOCTL = (16, 29), (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def install(*, among_others: bool, signals_to: Iterable[int] | None) -> None:
    """Install the filter in this process, which must have set "no new privileges".

    Args:
        among_others: Whether the program sees the server's processes and network, as without namespaces.
        signals_to: The process ids that it may send signals to; None for any.

    Raises:
        OSError: The kernel has no filters, or this architecture has no table.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise OSError(errno.ENOSYS, f"No seccomp table for {machine}")
    architecture, column = _ARCHITECTURES[machine]
    code = [_load(_OFFSET_ARCHITECTURE), _jump(_JUMP_IF_EQUAL, architecture, 1, 0), _return(_KILL)]
    code += [_load(_OFFSET_NUMBER)]
    if machine == "x86_64":  # the x32 calls have other numbers
        code += [_jump(_JUMP_IF_AT_LEAST, _X32, 0, 1), _refuse()]
    for numbers in _ON_ITSELF_ALONE.values():
        code += _argument_rule(numbers[column], 0, [0], refuse_listed=False)
    refused = dict(_ALWAYS_REFUSED)
    if among_others:
        refused |= _REFUSED_AMONG_OTHERS
    if signals_to is not None:
        refused |= _SIGNALS_REFUSED
        for numbers in _SIGNALS_TO_ITSELF.values():
            code += _argument_rule(numbers[column], 0, list(signals_to), refuse_listed=False)
        code += _argument_rule(_FCNTL[column], 1, _SIGNALS_BY_FCNTL, refuse_listed=True)
        code += _argument_rule(_IOCTL[column], 1, _SIGNALS_BY_IOCTL, refuse_listed=True)
    for numbers in refused.values():
        code += [_jump(_JUMP_IF_EQUAL, numbers[column], 0, 1), _refuse()]
    # A filter cannot read the flags of clone3, which are in memory; without it, the C library uses clone.
    code += [_jump(_JUMP_IF_EQUAL, _CLONE3[column], 0, 1), _refuse(errno.ENOSYS)]
    code += [_jump(_JUMP_IF_EQUAL, _CLONE[column], 0, 3), _load(_OFFSET_ARGUMENTS)]
    code += [_jump(_JUMP_IF_ANY_BIT, _NEW_NAMESPACES, 0, 1), _refuse(), _return(_ALLOW)]
    _install(code)


def _install(code: list[bytes]) -> None:
    buffer = ctypes.create_string_buffer(b"".join(code))
    program = _Filter(len(code), ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program))


def _instruction(code: int, if_true: int, if_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _load(offset: int) -> bytes:
    return _instruction(_LOAD_WORD, 0, 0, offset)


def _jump(test: int, value: int, if_true: int, if_false: int) -> bytes:
    """Test, and skip ``if_true`` or ``if_false`` instructions."""
    return _instruction(test, if_true, if_false, value)


def _return(value: int) -> bytes:
    return _instruction(_RETURN, 0, 0, value)


def _refuse(number: int = errno.EPERM) -> bytes:
    return _return(_ERRNO | number)


def _argument_rule(number: int, argument: int, values: Iterable[int], *, refuse_listed: bool) -> list[bytes]:
    """Refuse a call if the lower half of one argument is one of the values, or none of them."""
    listed = list(values)
    # Both architectures are little-endian, so the lower half comes first.
    block = [_load(_OFFSET_ARGUMENTS + 8 * argument)]
    for place, value in enumerate(listed):
        behind = len(listed) - place - 1
        is_last = behind == 0
        if refuse_listed:
            block.append(_jump(_JUMP_IF_EQUAL, value & 0xFFFFFFFF, behind, 1 if is_last else 0))
        else:
            block.append(_jump(_JUMP_IF_EQUAL, value & 0xFFFFFFFF, behind + 1, 0))
    block += [_refuse(), _load(_OFFSET_NUMBER)]
    return [_jump(_JUMP_IF_EQUAL, number, 0, len(block)), *block]
