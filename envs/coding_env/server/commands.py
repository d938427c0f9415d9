"""The commands that start a supervisor: in namespaces that bubblewrap makes, or among the machine's processes."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from .limits import Limits

# The descriptor of the folder with the program. The sandbox sees that folder read-only.
PROGRAM_FOLDER = 9

_FOLDER = Path(__file__).parent
_START = "import sys; sys.path.append(sys.argv[1]); from supervisor.supervise import main; main()"
# What programs may read besides their interpreter.
_READABLE = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
_READABLE += ["/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"]
_SPARE_USERS = range(61184, 65280)  # the range of systemd's dynamic users
_TIMEOUT_S = 20.0
# A file system in memory, whose size and number of files are fixed. In the new mount namespace, /sys is a place
# that always exists and is not needed. Descriptor 9 leads to a folder that bubblewrap mounts read-only.
_MOUNT = """
set -e
mount -t tmpfs -o "size=$1,nr_inodes=$2,mode=0755" tmpfs /sys
mkdir -m 777 /sys/workspace /sys/tmp /sys/shm /sys/program
mount -t tmpfs -o size=4m,nr_inodes=2,mode=0777 tmpfs /sys/program
exec 9< /sys/program
shift 2
exec "$@"
"""
_OWN_INODES = 5  # the root and the four folders in it

_count = itertools.count(os.getpid() * 64)


class MissingError(RuntimeError):
    """Something that an isolation needs is missing."""


def spare_user() -> int | None:
    """Return a user id without files, and most likely without processes, if this user is root; else None."""
    return _SPARE_USERS[next(_count) % len(_SPARE_USERS)] if os.geteuid() == 0 else None


def readable_by_programs(python: str) -> list[str]:
    """Return the files and folders that programs may read, of those that exist.

    Raises:
        MissingError: ``python`` is not an interpreter.
    """
    return [path for path in (*_READABLE, *_prefixes_of(python)) if os.path.lexists(path)]


def among_others() -> list[str]:
    """Return the command of a supervisor without namespaces."""
    return [sys.executable, "-I", "-B", "-c", _START, str(_FOLDER)]


def in_namespaces(limits: Limits) -> list[str]:
    """Return the command of a supervisor in bubblewrap, which is the first process of its namespace.

    Args:
        limits: The interpreter, and the size of the file system.

    Raises:
        MissingError: A command or a package is missing.
    """
    for command, package in (("bwrap", "bubblewrap"), ("unshare", "util-linux"), ("mount", "mount")):
        if shutil.which(command) is None:
            raise MissingError(f"the command {command} is missing (apt-get install {package})")
    mount = ["sh", "-c", _MOUNT, "sh", str(limits.files_mb << 20), str(limits.files + _OWN_INODES)]
    if os.geteuid() == 0:
        # The supervisor becomes another user, so it needs no namespace of users.
        unshare = ["unshare", "--mount"]
        kinds = ["ipc", "pid", "net", "uts", "cgroup-try"]
        users = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
        kinds = ["all", "user"]
        users = ["--uid", "1000", "--gid", "1000", "--disable-userns"]
    binds = [argument for path in _outermost(readable_by_programs(limits.python)) for argument in _bind(path)]
    for module in (_FOLDER / "supervisor", _file_of("pyseccomp")):
        binds += ["--ro-bind", str(module), f"/supervisor/{module.name}"]
    return [
        *unshare,
        *mount,
        "bwrap",
        *(f"--unshare-{kind}" for kind in kinds),
        *users,
        "--as-pid-1",
        "--new-session",
        *("--hostname", "sandbox"),
        *binds,
        *("--proc", "/proc"),
        *("--dev", "/dev"),
        *("--bind", "/sys/workspace", "/workspace"),
        *("--bind", "/sys/tmp", "/tmp"),
        *("--bind", "/sys/shm", "/dev/shm"),
        *("--ro-bind", "/sys/program", "/program"),
        *("--remount-ro", "/dev"),
        *("--remount-ro", "/"),
        "--",
        *(limits.python, "-I", "-S", "-B", "-c", _START, "/supervisor"),
    ]


def _outermost(paths: list[str]) -> list[str]:
    """Return the paths that are not inside another one."""
    kept: list[str] = []
    for path in sorted(paths):
        if not any(path == other or path.startswith(f"{other}/") for other in kept):
            kept.append(path)
    return kept


def _bind(path: str) -> list[str]:
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    # Else bubblewrap makes the folders around a private one private too.
    parents = [str(parent) for parent in reversed(Path(path).parents)][1:]
    made = [argument for parent in parents for argument in ("--perms", "0755", "--dir", parent)]
    return [*made, "--ro-bind", path, path]


def _file_of(module: str) -> Path:
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise MissingError(f"the package {module} is missing (pip install {module})")
    return Path(found.origin)


@cache
def _prefixes_of(python: str) -> tuple[str, ...]:
    """Return the folders of an interpreter and of its packages."""
    code = "import sys; print(*{sys.prefix, sys.base_prefix, sys.exec_prefix}, sep='\\n');"
    # Debian's interpreter reads a file there when it starts.
    code += "print(f'/etc/python{sys.version_info[0]}.{sys.version_info[1]}')"
    try:
        completed = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingError(f"CODING_ENV_PYTHON={python} is not an interpreter: {error}") from error
    return tuple(sorted(completed.stdout.split("\n")[:-1]))
