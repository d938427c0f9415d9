"""The system calls that programs may make. libseccomp knows their numbers on each architecture.

All others are denied, so that a call which a later kernel adds is denied as well. Among them are io_uring, bpf,
keyctl, ptrace, mounts, new namespaces, and memory that belongs to no process.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable

from pyseccomp import ALLOW, EQ, ERRNO, GT, LT, MASKED_EQ, NE, Arch, Arg, SyscallFilter, resolve_syscall

_ALLOWED = """
    access alarm arch_prctl brk capget chdir clock_getres clock_gettime clock_nanosleep close close_range
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fdatasync
    flock fork fstat fstatfs fsync ftruncate futex futex_waitv get_robust_list getcpu getcwd getdents getdents64
    getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getrandom getresgid
    getresuid getrlimit getrusage getsid gettid gettimeofday getuid link linkat lseek lstat madvise membarrier
    mincore mkdir mkdirat mknod mknodat mmap mprotect mremap msync munmap nanosleep newfstatat open openat
    openat2 pause pidfd_open pipe pipe2 poll ppoll prctl pread64 preadv preadv2 pselect6 pwrite64 pwritev pwritev2
    read readahead readlink readlinkat readv rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction
    rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getparam sched_getscheduler sched_yield select sendfile
    set_robust_list set_tid_address setitimer setrlimit sigaltstack signalfd signalfd4 splice stat statfs statx
    symlink symlinkat sync_file_range sysinfo time timer_create timer_delete timer_getoverrun timer_gettime
    timer_settime timerfd_create timerfd_gettime timerfd_settime times umask uname unlink unlinkat vfork wait4
    waitid write writev
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg
    sendmsg sendto shutdown
"""
_SIGNALS = "kill pidfd_send_signal rt_sigqueueinfo rt_tgsigqueueinfo tgkill tkill"
# In namespaces, these reach nothing outside. Landlock denies neither changes of metadata nor a new session.
_IN_NAMESPACES = (
    "chmod fchmod fchmodat fchmodat2 chown fchown fchownat lchown futimesat utime utimensat utimes"
)
_IN_NAMESPACES += " setpgid setsid truncate"
_ATTRIBUTES = """
    fgetxattr flistxattr fremovexattr fsetxattr getxattr lgetxattr listxattr llistxattr lremovexattr lsetxattr
    removexattr setxattr
"""
# The first argument is a process, and 0 is the caller. The supervisor has the program's user.
_ON_ITSELF = "prlimit64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler"
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)  # vsock and alg know no namespaces
_FCNTL = (*range(8), 36, 37, 38, 1030, 1031, 1032)  # no signals, leases, or notifications
_IOCTL = (
    0x5401,
    0x5413,
    0x541B,
    0x5421,
    0x5450,
    0x5451,
)  # of terminals and pipes; the last two: close on exec
_NEW_NAMESPACES = 0x7E020000
_SOCKET_KIND = 0xF
# From clone3 on, calls have the same number everywhere, and the C library tries an older one after ENOSYS.
_RECENT = range(435, 512)


def program_filter(*, in_namespaces: bool, may_signal: bool) -> SyscallFilter:
    """Return the filter of programs; ``load`` installs it in this process, for good.

    Args:
        in_namespaces: Whether programs have processes, files and a network of their own.
        may_signal: Whether they may send signals. Else `allow_signals_to` comes first.

    Raises:
        OSError: The kernel has no filters.
    """
    rules = SyscallFilter(ERRNO(errno.EPERM))
    allowed = _ALLOWED.split()
    if in_namespaces:
        allowed += [*_IN_NAMESPACES.split(), "socketpair"]
        _allow(rules, "socket", 0, _FAMILIES)
    else:
        # Other kinds take an address with what is sent, also of sockets outside.
        stream = Arg(1, MASKED_EQ, _SOCKET_KIND, socket.SOCK_STREAM)
        _add(rules, ALLOW, "socketpair", Arg(0, EQ, socket.AF_UNIX), stream)
    if may_signal:
        allowed += _SIGNALS.split()
    for name in allowed:
        _add(rules, ALLOW, name)
    for name in _ATTRIBUTES.split():
        _add(rules, ERRNO(errno.EOPNOTSUPP), name)
    for number in set(_RECENT).difference(resolve_syscall(Arch.NATIVE, name) for name in allowed):
        _add(rules, ERRNO(errno.ENOSYS), number)
    for name in _ON_ITSELF.split():
        _allow(rules, name, 0, [0])
    _add(rules, ALLOW, "setpriority", Arg(0, EQ, 0), Arg(1, EQ, 0))
    _allow(rules, "fcntl", 1, _FCNTL)
    _allow(rules, "ioctl", 1, _IOCTL)
    for kept in (Arg(2, LT, socket.SO_SNDBUF), Arg(2, GT, socket.SO_RCVBUF), Arg(1, NE, socket.SOL_SOCKET)):
        _add(rules, ALLOW, "setsockopt", kept)  # all options but the sizes of buffers
    _add(rules, ALLOW, "clone", Arg(0, MASKED_EQ, _NEW_NAMESPACES, 0))
    return rules


def allow_signals_to(rules: SyscallFilter, pid: int) -> None:
    """Let a program signal one process, and its own process group."""
    for name in ("kill", "tgkill"):
        _allow(rules, name, 0, (0, pid))


def _allow(rules: SyscallFilter, name: str, argument: int, values: Iterable[int]) -> None:
    for value in values:
        _add(rules, ALLOW, name, Arg(argument, EQ, value))


def _add(rules: SyscallFilter, action: int, call: str | int, *arguments: Arg) -> None:
    # An older libseccomp does not know the newest calls; they stay denied.
    with contextlib.suppress(OSError):
        rules.add_rule(action, call, *arguments)
