"""Programs that reach for what is not theirs. Each prints "no" for what fails and "DONE" for what succeeds.

They are used for each kind of isolation, and in a container.
"""

from __future__ import annotations

_START = """
import ctypes, os, resource, signal, socket, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.argtypes = [ctypes.c_long] * 7
outside, file, pid, port = {outside!r}, {file!r}, {pid!r}, {port!r}
def attempt(name, call):
    try: result = call()
    except OSError as error: print("no", name, error.errno)
    else: print("DONE", name, repr(result)[:200])
def kernel(name, number, *arguments):
    result = libc.syscall(number, *arguments, *[0] * (6 - len(arguments)))
    error = ctypes.get_errno()
    print("no" if result == -1 and error in (1, 38) else "DONE", name, result, error)
def text(value):
    buffer = ctypes.create_string_buffer(value.encode())
    kept.append(buffer)
    return ctypes.addressof(buffer)
kept = []
x86 = os.uname().machine == "x86_64"
"""

_ATTACKS = {
    "files": """
attempt("read", lambda: open(file).read())
attempt("write", lambda: open(file, "a"))
attempt("truncate", lambda: os.truncate(file, 0))
attempt("list", lambda: os.listdir(outside))
attempt("create", lambda: open(outside + "/new", "w"))
attempt("mkdir", lambda: os.mkdir(outside + "/folder"))
attempt("remove", lambda: os.unlink(file))
attempt("rename", lambda: os.rename(file, file + "2"))
attempt("move in", lambda: os.rename(file, "taken"))
attempt("run", lambda: os.execv(file, [file]))
for path in ("/etc/passwd", "/etc/shadow", "/root/.bashrc", "/sys/kernel/notes", "/dev/mem", "/dev/kmsg"):
    attempt(path, lambda: open(path, "rb").read())
for path in ("/usr/new", "/etc/new", "/new", "/dev/new", "/var/tmp/new", "/run/new", "/program/new", sys.executable, os.__file__):
    attempt(path, lambda: open(path, "ab"))
""",
    "metadata": """
attempt("chmod", lambda: os.chmod(outside, 0o777))
attempt("chmod file", lambda: os.chmod(file, 0o777))
attempt("chmod home", lambda: os.chmod(outside + "/..", 0))
attempt("chown", lambda: os.chown(file, os.getuid(), os.getgid()))
attempt("utime", lambda: os.utime(file, (0, 0)))
attempt("setxattr", lambda: os.setxattr(file, "user.mark", b"x"))
attempt("getxattr", lambda: os.listxattr(file))
attempt("descriptor", lambda: os.chmod(os.open(os.__file__, os.O_RDONLY), 0o644))
attempt("path descriptor", lambda: os.chmod("/proc/self/fd/%d" % os.open(file, os.O_PATH), 0o777))
# By their numbers: fchmodat2, setxattrat, removexattrat, file_setattr.
for number in (452, 463, 466, 469):
    if libc.syscall(number, -100, text(file), 0o777, 0, 0, 0) == 0: print("DONE call", number)
flags = ctypes.c_int(0x40)  # FS_IOC_SETFLAGS: the interpreter may belong to the server's user
descriptor = os.open(os.__file__, os.O_RDONLY)
if libc.ioctl(descriptor, 0x40086602, ctypes.byref(flags)) == 0: print("DONE attributes")
""",
    "sight": """
attempt("stat", lambda: os.stat(file))
attempt("chdir", lambda: os.chdir(outside))
print("DONE" if os.access(outside, os.F_OK) else "no", "access")
""",
    "links": """
os.symlink(outside, "link")
attempt("read through a link", lambda: open("link/file").read())
attempt("write through a link", lambda: open("link/new", "w"))
attempt("list through a link", lambda: os.listdir("link"))
attempt("hard link", lambda: os.link(file, "hard"))
attempt("link in its place", lambda: os.rename("link", os.getcwd() + "/../program/main.py"))
attempt("dots", lambda: open("../" * 20 + file).read())
attempt("root of a process", lambda: open("/proc/1/root" + file).read())
attempt("own root", lambda: open("/proc/self/root" + file).read())
attempt("working folder of a process", lambda: os.listdir("/proc/1/cwd"))
""",
    "network": """
families = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_INET, ("192.0.2.1", 80))]
families += [(socket.AF_INET6, ("::1", port)), (socket.AF_UNIX, f"\\0coding-env-attack-{{port}}"), (socket.AF_UNIX, outside + "/socket")]
for family, address in families:
    def connect():
        with socket.socket(family) as client:
            client.settimeout(1)
            client.connect(address)
    attempt(address, connect)
# With each message, these take an address, which need not be that of the other one of the pair.
def send(address):
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        sender.sendto(b"escaped", address)
for address in (f"\\0coding-env-messages-{{port}}", f"/tmp/coding-env-messages-{{port}}"):
    attempt(address, lambda: send(address))
# These families know no namespaces, or are a part of the kernel that attackers like.
for family in (16, 17, 29, 38, 40, 44):
    attempt("family %d" % family, lambda: socket.socket(family, socket.SOCK_RAW))
    attempt("family %d" % family, lambda: socket.socket(family, socket.SOCK_SEQPACKET))
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("resolve", lambda: socket.getaddrinfo("localhost.example", 80))
""",
    "processes": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for target in {{os.getppid(), pid, 1, -pid, -os.getppid()}} - {{0}}:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try: os.kill(target, number)
        except OSError: pass
        libc.tgkill(target, target, number)
        try: signal.pidfd_send_signal(os.pidfd_open(target), number)
        except (OSError, OverflowError): pass
for target in {{os.getppid(), pid}} - {{0}}:
    attempt("limits", lambda: resource.prlimit(target, resource.RLIMIT_NOFILE, (1, 1)))
    attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, target, 19))
    attempt("processors", lambda: os.sched_setaffinity(target, [0]))
    attempt("scheduler", lambda: os.sched_setscheduler(target, os.SCHED_IDLE, os.sched_param(0)))
attempt("priorities of a user", lambda: os.setpriority(os.PRIO_USER, 0, 19))
for limit in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE):
    try: resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)); print("DONE raise", limit)
    except (OSError, ValueError): pass
print("no more")
""",
    "memory": """
others = {{os.getppid(), pid, 1}} - {{0, os.getpid()}}
try: others |= {{int(name) for name in os.listdir("/proc") if name.isdigit()}} - {{os.getpid()}}
except OSError: pass
for other in others:
    for name in ("environ", "mem", "maps", "auxv", "stack"):
        attempt(f"/proc/{{other}}/{{name}}", lambda: open(f"/proc/{{other}}/{{name}}", "rb").read(100))
    attempt(f"write /proc/{{other}}/mem", lambda: open(f"/proc/{{other}}/mem", "r+b"))
    attempt(f"files of {{other}}", lambda: os.listdir(f"/proc/{{other}}/fd"))
    kernel("process_vm_readv", 310 if x86 else 270, other)
    kernel("process_vm_writev", 311 if x86 else 271, other)
    kernel("kcmp", 312 if x86 else 272, os.getpid(), other)
    kernel("pidfd_getfd", 438, 3, 0)
for descriptor in range(3, 256):
    try: os.fstat(descriptor); print("DONE descriptor", descriptor)
    except OSError: pass
""",
    "proc": """
for path in ("/proc/kcore", "/proc/1/environ", "/proc/1/root/etc/passwd"):
    attempt(path, lambda: open(path, "rb").read(100))
for path in ("sysrq-trigger", "sys/kernel/core_pattern", "sys/kernel/hostname", "sys/vm/drop_caches", "sys/kernel/modprobe",
             "sys/user/max_user_namespaces", "sys/fs/file-max", "1/oom_score_adj", "1/mem", "irq/default_smp_affinity"):
    attempt(path, lambda: open("/proc/" + path, "w"))
""",
    "ptrace": """
for target in {{os.getppid(), pid, 1}} - {{0}}:
    for request in (16, 0x4206):
        kernel("ptrace", 101 if x86 else 117, request, target)
child = os.fork()
if child == 0:
    signal.pause()
kernel("ptrace of a child", 101 if x86 else 117, 16, child)
kernel("traced by the parent", 101 if x86 else 117, 0)
""",
    "io_uring": """
parameters = ctypes.create_string_buffer(1000)
address = ctypes.addressof(parameters)
for name, number in {{"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "clone3": 435,
        "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432, "mount_setattr": 442, "memfd_secret": 447,
        "landlock_create_ruleset": 444, "statmount": 457, "a call of the future": 500}}.items():
    kernel(name, number, 8, address, 88)
for name, both in {{"keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
        "perf_event_open": (298, 241), "userfaultfd": (323, 282), "memfd_create": (319, 279), "shmget": (29, 194),
        "msgget": (68, 186), "semget": (64, 190), "name_to_handle_at": (303, 264), "inotify_init1": (294, 26),
        "fanotify_init": (300, 262), "personality": (135, 92), "process_madvise": (440, 440), "quotactl": (179, 60),
        "syslog": (103, 116), "vmsplice": (278, 75)}}.items():
    kernel(name, both[not x86], 0, address, 4096)
""",
    "privileges": """
for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x04000000, 0x08000000, 0x02000000):
    kernel("unshare", 272 if x86 else 97, flag)
    kernel("clone", 56 if x86 else 220, flag | 17)
kernel("setns", 308 if x86 else 268, 0)
kernel("mount", 165 if x86 else 40, text("none"), text("/tmp"), text("tmpfs"))
kernel("umount", 166 if x86 else 39, text("/program"))
kernel("pivot_root", 155 if x86 else 41, text("."), text("."))
kernel("chroot", 161 if x86 else 51, text("/"))
attempt("setuid", lambda: os.setuid(0))
attempt("setgid", lambda: os.setgid(0))
attempt("device", lambda: os.mknod("device", stat.S_IFBLK | 0o600, os.makedev(8, 0)))
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capget(header, data)
print("DONE" if any(data) else "no", "capabilities", list(data))
print("no" if libc.prctl(39, 0, 0, 0, 0) == 1 else "DONE", "new privileges")
""",
}

NAMES = sorted(_ATTACKS)


def program(name: str, *, outside: str, pid: int, port: int) -> str:
    """Return the source of an attack.

    Args:
        name: One of `NAMES`.
        outside: A folder of the server's user, with a file named "file" in it.
        pid: A process of the server's user.
        port: A TCP port of loopback on which something listens.
    """
    return (_START + _ATTACKS[name]).format(outside=outside, file=f"{outside}/file", pid=pid, port=port)
