"""Servers on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from openenv_gym.errors import (
    ConfigurationError,
    DeadlineExceededError,
    MissingExtraError,
    OpenEnvError,
)
from openenv_gym.providers.process import ServerProcesses
from openenv_gym.providers.progress import tell
from openenv_gym.providers.provider import Provider, at_least_one
from openenv_gym.providers.server_command import ServerCommand, Wrapper

# Long enough for a replica that runs; one that is restarting is not waited for.
_ANSWER_TIMEOUT_S = 0.2
# The log explains an error that a replica sent, so that replica runs, however busy its node is.
_LOG_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 15.0
_CONNECT_TIMEOUT_S = 10.0


class RayProvider(Provider):
    """Runs each server in an actor; the actors are spread over the nodes of a Ray cluster.

    Ray restarts an actor that dies, alone or with its node, where the cluster has room, at another address:
    `addresses` has the present ones. Every node needs this distribution with its ``cli`` extra, and the
    folder at the same path.

    If Ray is not connected yet, ``ray.init()`` connects it as usual: to the cluster of ``RAY_ADDRESS``, else
    to one on this machine. It stays connected until this process ends, or ``ray.shutdown()``.

    Args:
        path: As in `ProcessProvider`.
        gym: As in `ProcessProvider`.
        app: As in `ProcessProvider`.
        gym_kwargs: As in `ProcessProvider`.
        wrappers: As in `ProcessProvider`.
        vectorized: As in `ProcessProvider`.
        max_sessions: As in `ProcessProvider`, for each replica.
        replicas: How many servers.
        num_cpus: CPUs of each server, as in Ray. Ray reserves them, but does not
            enforce the limit.
        num_gpus: GPUs of each server.
        memory: Memory of each server, in bytes.
        resources: Custom resources of each server.
        max_restarts: How often each server is restarted; -1 for no limit.
        api_key: As in `ProcessProvider`; the variable is read in this process, not on the nodes. Servers
            listen on their node's address, so without a key whoever reaches the node can use them.
        ready_timeout_s: The time for Ray to place all servers on nodes, and then for each to become ready, in
            seconds.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigurationError: Not exactly one of path, gym and app was given, the folder has no environment,
            or the key is malformed.

    Example:
        >>> with RayProvider("./my_env", replicas=8, num_cpus=2) as provider:
        ...     envs = RemoteVectorEnv(provider.addresses, 512, on_session_lost="truncate")
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        gym: str | None = None,
        app: str | None = None,
        gym_kwargs: Mapping[str, Any] | None = None,
        wrappers: Iterable[Wrapper] = (),
        vectorized: bool = False,
        max_sessions: int | None = None,
        replicas: int = 1,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        memory: int | None = None,
        resources: Mapping[str, float] | None = None,
        max_restarts: int = -1,
        api_key: str | None = None,
        ready_timeout_s: float = 120.0,
    ) -> None:
        self._ray = _import_ray()
        self._server = ServerCommand(
            path,
            gym=gym,
            app=app,
            gym_kwargs=gym_kwargs,
            wrappers=wrappers,
            vectorized=vectorized,
            max_sessions=max_sessions,
            api_key=api_key,
        )
        self._count = at_least_one(replicas)
        self.restarts: bool = max_restarts != 0
        self._options = {
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "memory": memory,
            "resources": dict(resources or {}),
            "max_restarts": max_restarts,
            "scheduling_strategy": "SPREAD",
        }
        self.ready_timeout_s = ready_timeout_s
        self._replicas: list[Any] = []
        self._pending: dict[int, Any] = {}  # requests for the addresses of replicas

    def __str__(self) -> str:
        return f"{self._server.name} on Ray"

    def start(self) -> tuple[str, ...]:
        ray = self._ray
        _connect(ray)
        try:
            actor = ray.remote(Replica).options(**self._options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"Ray refuses an option: {error}") from error
        self._replicas = [actor.remote(self._server, self.ready_timeout_s) for _ in range(self._count)]
        placed = [replica.__ray_ready__.remote() for replica in self._replicas]
        try:
            _, waiting = ray.wait(placed, num_returns=self._count, timeout=self.ready_timeout_s)
            if waiting:
                raise self._not_placed(len(waiting))
            self.endpoints = tuple(ray.get([replica.base_url.remote() for replica in self._replicas]))
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, OpenEnvError):
                raise cause from None  # it has the server's last log lines
            raise ConfigurationError(f"A replica of {self} could not be started: {error}") from error
        return self.endpoints

    def addresses(self) -> tuple[str, ...]:
        """The servers' present base URLs; for one that is restarting, its last one."""
        ray, urls = self._ray, list(self.endpoints)
        if not ray.is_initialized():
            return self.endpoints
        for place, replica in enumerate(self._replicas):
            if place not in self._pending:
                self._pending[place] = replica.base_url.remote()
        if not self._pending:
            return self.endpoints
        asked = list(self._pending.values())
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_TIMEOUT_S)
        answered = set(ready)
        for place, answer in list(self._pending.items()):
            if answer in answered:
                del self._pending[place]
                try:
                    urls[place] = ray.get(answer)
                except ray.exceptions.RayError:
                    continue  # it is restarting, or never will: `check` tells which
        self.endpoints = tuple(urls)
        return self.endpoints

    def check(self) -> None:
        for reason in self._why_ended().values():
            raise ConfigurationError(reason)

    def ended(self) -> Mapping[str, str]:
        return {self.endpoints[place]: reason for place, reason in self._why_ended().items()}

    def _why_ended(self) -> dict[int, str]:
        """Why replicas have ended for good, by their indices."""
        ray = self._ray
        if not ray.is_initialized():
            reason = f"Ray was shut down, and the replicas of {self} with it"
            return dict.fromkeys(range(len(self._replicas)), reason)
        asked = [replica.base_url.remote() for replica in self._replicas]
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_TIMEOUT_S) if asked else ([], [])
        reasons: dict[int, str] = {}
        for answer in ready:
            try:
                ray.get(answer)
            except ray.exceptions.ActorUnavailableError:
                continue  # it is restarting
            except ray.exceptions.RayError as error:
                reasons[asked.index(answer)] = f"A replica of {self} has ended: {error}"
        return reasons

    def logs(self) -> str:
        ray = self._ray
        if not ray.is_initialized():
            return ""
        asked = [replica.logs.remote() for replica in self._replicas]
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_STOP_TIMEOUT_S) if asked else ([], [])
        logs: list[str] = []
        for answer in ready:
            try:
                logs.append(ray.get(answer))
            except ray.exceptions.RayError as error:
                logs.append(f"{error}\n")
        return "".join(logs)

    def log_of(self, base_url: str) -> str:
        ray = self._ray
        if not ray.is_initialized():
            return ""
        try:
            replica = self._replicas[self.endpoints.index(base_url)]
            return str(ray.get(replica.logs.remote(), timeout=_LOG_TIMEOUT_S))
        except ray.exceptions.RayError:
            return ""

    def stop(self) -> None:
        ray = self._ray
        replicas, self._replicas = self._replicas, []
        has_started = bool(self.endpoints)
        self._pending, self.endpoints = {}, ()
        if replicas and ray.is_initialized():
            if has_started:  # gracefully first, so that environments are closed
                asked = [replica.stop.remote() for replica in replicas]
                ray.wait(asked, num_returns=len(asked), timeout=_STOP_TIMEOUT_S)
            for replica in replicas:
                ray.kill(replica)

    def _not_placed(self, count: int) -> DeadlineExceededError:
        """The error if no node has room for some replicas."""
        ray = self._ray
        hint = (
            " Under `uv run`, Ray starts its workers with `uv run` too; if they cannot start that way, set "
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV=0."
        )
        return DeadlineExceededError(
            f"Ray did not place {count} of the {self._count} replicas of {self} on a node within "
            f"{self.ready_timeout_s:g} s. Each needs {self._needs()}; the cluster has "
            f"{_listed(ray.cluster_resources())}, of which {_listed(ray.available_resources())} are free.",
            advice=f"`ray status` shows what is pending.{hint if 'UV' in os.environ else ''}",
        )

    def _needs(self) -> str:
        wanted = {name: self._options[name] for name in ("num_cpus", "num_gpus", "memory", "resources")}
        return ", ".join(f"{name}={amount}" for name, amount in wanted.items() if amount) or "nothing"


class Replica:
    """The actor: a server on the actor's node. It ends when the server ends, so that Ray restarts it.

    When an actor's process ends, Ray kills its children: the server's supervisor. The kernel then ends the
    server.

    Args:
        server: What to run.
        ready_timeout_s: The time for the server to become ready, in seconds.
    """

    def __init__(self, server: ServerCommand, ready_timeout_s: float) -> None:
        import ray

        host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        self._processes = ServerProcesses(server, host=host, ready_timeout_s=ready_timeout_s)
        self._ready: Future[None] = Future()
        threading.Thread(target=self._serve, name="openenv-serve", daemon=True).start()

    def base_url(self) -> str:
        """The server's address; waits until the server is ready.

        Raises:
            OpenEnvError: The server could not be started.
        """
        self._ready.result()
        return self._processes.base_url

    def logs(self) -> str:
        """The last lines that the server wrote."""
        return self._processes.logs()

    def stop(self) -> None:
        """Stop the server."""
        self._processes.stop()

    def _serve(self) -> None:
        try:
            self._processes.launch()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        self._processes.wait()
        try:
            self._processes.check()  # passes if the server was stopped on purpose
        except ConfigurationError as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(1)


def _connect(ray: Any) -> None:
    """Connect this process to Ray, unless it is connected.

    Raises:
        ConfigurationError: The cluster cannot be reached.
    """
    if ray.is_initialized():
        return
    tell("Connecting to Ray…")
    address = os.environ.get("RAY_ADDRESS", "")
    advice = "`ray status` shows whether it runs. Without RAY_ADDRESS, Ray starts a cluster on this machine."
    host, _, port = address.rpartition(":")
    if host and port.isdigit():  # Ray itself would wait for minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConfigurationError(
                f"No Ray cluster responds at RAY_ADDRESS={address} ({error}).", advice=advice
            ) from error
    try:
        ray.init(log_to_driver=False, logging_level="WARNING")
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"Ray cannot be reached{f' at RAY_ADDRESS={address}' if address else ''}: {error}.", advice=advice
        ) from error


def _listed(resources: Mapping[str, float]) -> str:
    """Resources as text, without those that belong to one node."""
    named = {name: amount for name, amount in resources.items() if not name.startswith("node:")}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(named.items())) or "nothing"


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise MissingExtraError("RayProvider", "ray") from error
    return ray
