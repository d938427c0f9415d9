"""A Docker engine and an image registry that belong to the tests alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.support import dying
from tests.support.process_tree import descendants

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
# A range for tests of network devices (RFC 2544): no machine has its own addresses in it.
_SUBNET = "198.18.{number}.1/24"


@dataclass(frozen=True)
class Engine:
    """An engine that runs.

    Attributes:
        host: Its socket, for ``DOCKER_HOST``.
        pid: Its process.
        config: A folder for ``DOCKER_CONFIG``, so that the user's own credentials stay out of the tests.
    """

    host: str
    pid: int
    config: Path

    @property
    def environment(self) -> dict[str, str]:
        """This process's variables, with those that lead to the engine."""
        variables = {name: value for name, value in os.environ.items() if name != "DOCKER_CONTEXT"}
        return variables | self.variables

    @property
    def variables(self) -> dict[str, str]:
        """The variables that lead to the engine."""
        return {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.config)}

    def docker(self, *arguments: str) -> str:
        """Runs a ``docker`` command; returns what it printed."""
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()


def why_no_engine() -> str | None:
    """The reason why no engine can run here, or None."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "a Docker engine of the tests' own needs root"
    for command, package in (
        ("dockerd", "docker.io"),
        ("docker", "docker.io"),
        ("docker-registry", "docker-registry"),
        ("ip", "iproute2"),
        ("apt-get", "apt"),
    ):
        if shutil.which(command) is None:
            return f"there is no {command} command, which the package {package} brings"
    return None


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Run an engine with a separate store, socket and bridge, and remove all three at the end."""
    with tempfile.TemporaryDirectory(prefix="engine-") as temporary, _bridge() as bridge:
        folder = Path(temporary)
        host, log = f"unix://{folder}/docker.sock", folder / "log"
        command = [
            *(sys.executable, "-I", "-S", dying.__file__, str(os.getpid())),  # it ends with the tests
            str(shutil.which("dockerd")),
            f"--host={host}",
            f"--data-root={folder}/data",
            f"--exec-root={folder}/exec",
            f"--pidfile={folder}/docker.pid",
            f"--bridge={bridge}",
        ]
        config = folder / "config"
        config.mkdir()
        process: subprocess.Popen[bytes] | None = None
        try:
            with _alone():
                process = _start(command, log)
                engine = Engine(host, process.pid, config)
                _wait_until(lambda: _answers(engine), process, log)
            yield engine
        finally:
            if process is not None:
                children = descendants(process.pid)
                with _alone():
                    process.terminate()
                    process.wait(STOP_TIMEOUT_S)
                _clear_away(children, folder)


def _alone() -> FileLock:
    """Held while an engine starts or stops: two at once meddle with the same chains of the packet filter."""
    return FileLock(Path(tempfile.gettempdir()) / "openenv-gym-engines.lock")


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    # Health checks write into the user's folders for passing things, and the tests' may not exist.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    with log.open("w") as output:
        # Ctrl-C is for the tests, which then stop the engine in order.
        return subprocess.Popen(
            command, env=variables, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


@contextmanager
def running_registry(*, lets_in: bool = True) -> Iterator[str]:
    """Starts an image registry on loopback, where Docker needs no TLS; gives its host and port.

    Args:
        lets_in: False for one that asks for a login, which nobody has.
    """
    with tempfile.TemporaryDirectory(prefix="registry-") as temporary:
        folder = Path(temporary)
        address = f"127.0.0.1:{free_port()}"
        config, log = folder / "config.yml", folder / "log"
        config.write_text(
            "version: 0.1\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/store}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{address}'}}\n"
        )
        if not lets_in:
            (folder / "users").write_text("nobody:*\n")
            with config.open("a") as settings:
                settings.write(f"auth: {{htpasswd: {{realm: test, path: {folder}/users}}}}\n")
        with log.open("w") as output:
            process = subprocess.Popen(
                ["docker-registry", "serve", str(config)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            _wait_until(lambda: _is_open(address), process, log)
            yield address
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def free_port() -> int:
    """A loopback port on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def _bridge() -> Iterator[str]:
    """A bridge for the containers. Docker's default one may belong to another engine of this machine."""
    name, address = _new_bridge()
    try:
        subprocess.run(["ip", "address", "add", address, "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "delete", name], check=True)
        _delete_rules(name)


def _new_bridge() -> tuple[str, str]:
    """Adds a bridge with a name and an address that no other run of the tests has."""
    errors = ""
    for number in range(256):
        name = f"oetest{number}"
        added = subprocess.run(["ip", "link", "add", name, "type", "bridge"], capture_output=True, text=True)
        if added.returncode == 0:
            return name, _SUBNET.format(number=number)
        errors = added.stderr
    raise AssertionError(f"no bridge can be added: {errors}")


def _delete_rules(bridge: str) -> None:
    """Deletes the packet filter's rules for a bridge, which an engine leaves behind."""
    for table in ("nat", "filter"):
        listed = subprocess.run(["iptables", "-t", table, "-S"], capture_output=True, text=True, check=True)
        for rule in listed.stdout.splitlines():
            append, *parts = rule.split()
            if append == "-A" and bridge in parts:
                subprocess.run(["iptables", "-t", table, "-D", *parts], check=True)


def _clear_away(processes: list[int], folder: Path) -> None:
    """Ends what an engine leaves when it stops amid a build, and takes off what it mounted in its folder."""
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounted if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=True)


def _is_open(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def _answers(engine: Engine) -> bool:
    command = ["docker", "version"]
    return subprocess.run(command, env=engine.environment, capture_output=True).returncode == 0


def _wait_until(is_true: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a process is ready. Fail with its log if it exits or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_true():
        assert process.poll() is None, f"{process.args} ended:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"{process.args} did not start:\n{log.read_text()}"
        time.sleep(0.1)
