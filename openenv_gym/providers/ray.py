"""Servers on the nodes of a Ray cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openenv_gym.errors import (
    ConfigurationError,
    DeadlineExceededError,
    MissingExtraError,
    OpenEnvError,
)
from openenv_gym.providers.progress import tell
from openenv_gym.providers.provider import Provider, at_least_one
from openenv_gym.providers.replica import Replica
from openenv_gym.providers.server_command import ServerCommand

# For the answers of replicas that live; one that is being started anew is not waited for.
_ANSWER_TIMEOUT_S = 0.2
_STOP_TIMEOUT_S = 15.0
_CONNECT_TIMEOUT_S = 10.0


class RayProvider(Provider):
    """Runs a server in each of some actors, spread over the nodes of a Ray cluster.

    An actor that dies, alone or with its node, is started anew by Ray where there is room, with another
    address: `addresses` has the present ones. Every node needs this distribution with its ``cli`` extra, and
    the folder at the same path.

    Where Ray is not connected yet, ``ray.init()`` does it as always: to the cluster of ``RAY_ADDRESS``, else
    to one on this machine. It stays connected until this process ends, or ``ray.shutdown()``.

    Args:
        path: As in `ProcessProvider`, like the four that follow.
        gym: As in `ProcessProvider`.
        app: As in `ProcessProvider`.
        gym_kwargs: As in `ProcessProvider`.
        max_sessions: As in `ProcessProvider`, of each replica.
        replicas: How many servers.
        num_cpus: Processors of each, as in Ray, like the four that follow. Ray reserves them, and does not
            enforce them.
        num_gpus: GPUs of each.
        memory: Bytes of memory of each.
        resources: Custom resources of each.
        max_restarts: How often each is started anew; -1 is without end.
        api_key: As in `ProcessProvider`; the variable is that of this process, not of the nodes. Replicas
            listen on their node's address, so without a key whoever reaches the node can use them.
        ready_timeout_s: The time for all of them to have a place on a node, and then for each to be ready, in
            seconds.

    Raises:
        MissingExtraError: Ray is not here.
        ConfigurationError: Not exactly one of the first three was given, or there is no environment's folder,
            or the key cannot be one.

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
            path, gym=gym, app=app, gym_kwargs=gym_kwargs, max_sessions=max_sessions, api_key=api_key
        )
        self._count = at_least_one(replicas)
        self.starts_anew = max_restarts != 0
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
        self._asked: dict[int, Any] = {}  # for the addresses of replicas that have not answered yet

    def __str__(self) -> str:
        return f"{self._server.name} on Ray"

    def start(self) -> tuple[str, ...]:
        ray = self._ray
        _connect(ray)
        try:
            actor = ray.remote(Replica).options(**self._options)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"Ray does not take an option: {error}") from error
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
                raise cause from None  # it has the server's last words
            raise ConfigurationError(f"A replica of {self} could not be started: {error}") from error
        return self.endpoints

    def addresses(self) -> tuple[str, ...]:
        """The servers' base URLs as they are now; of one that is being started anew, the last one."""
        ray, urls = self._ray, list(self.endpoints)
        if not ray.is_initialized():
            return self.endpoints
        for place, replica in enumerate(self._replicas):
            if place not in self._asked:
                self._asked[place] = replica.base_url.remote()
        if not self._asked:
            return self.endpoints
        asked = list(self._asked.values())
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_TIMEOUT_S)
        answered = set(ready)
        for place, answer in list(self._asked.items()):
            if answer in answered:
                del self._asked[place]
                try:
                    urls[place] = ray.get(answer)
                except ray.exceptions.RayError:
                    continue  # it is being started anew, or will never be: `check` says so
        self.endpoints = tuple(urls)
        return self.endpoints

    def check(self) -> None:
        for said in self._endings().values():
            raise ConfigurationError(said)

    def ended(self) -> Mapping[str, str]:
        return {self.endpoints[place]: said for place, said in self._endings().items()}

    def _endings(self) -> dict[int, str]:
        """What is said of the replicas that have ended for good, by their places."""
        ray = self._ray
        if not ray.is_initialized():
            said = f"Ray was shut down, and the replicas of {self} with it"
            return dict.fromkeys(range(len(self._replicas)), said)
        asked = [replica.base_url.remote() for replica in self._replicas]
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_TIMEOUT_S) if asked else ([], [])
        endings: dict[int, str] = {}
        for answer in ready:
            try:
                ray.get(answer)
            except ray.exceptions.ActorUnavailableError:
                continue  # it is being started anew
            except ray.exceptions.RayError as error:
                endings[asked.index(answer)] = f"A replica of {self} has ended: {error}"
        return endings

    def logs(self) -> str:
        ray = self._ray
        if not ray.is_initialized():
            return ""
        asked = [replica.logs.remote() for replica in self._replicas]
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=_STOP_TIMEOUT_S) if asked else ([], [])
        words: list[str] = []
        for answer in ready:
            try:
                words.append(ray.get(answer))
            except ray.exceptions.RayError as error:
                words.append(f"{error}\n")
        return "".join(words)

    def log_of(self, base_url: str) -> str:
        ray = self._ray
        if not ray.is_initialized():
            return ""
        try:
            replica = self._replicas[self.endpoints.index(base_url)]
            return str(ray.get(replica.logs.remote(), timeout=_ANSWER_TIMEOUT_S))
        except ray.exceptions.RayError:
            return ""

    def stop(self) -> None:
        ray = self._ray
        replicas, self._replicas = self._replicas, []
        has_started = bool(self.endpoints)
        self._asked, self.endpoints = {}, ()
        if replicas and ray.is_initialized():
            if has_started:  # politely first, so that environments are closed
                asked = [replica.stop.remote() for replica in replicas]
                ray.wait(asked, num_returns=len(asked), timeout=_STOP_TIMEOUT_S)
            for replica in replicas:
                ray.kill(replica)

    def _not_placed(self, count: int) -> DeadlineExceededError:
        """The error of replicas that no node has taken."""
        ray = self._ray
        hint = (
            " This runs under `uv run`, and so do Ray's workers then: where they cannot, set "
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV=0."
        )
        return DeadlineExceededError(
            f"{count} of the {self._count} replicas of {self} had no place within "
            f"{self.ready_timeout_s:g} s. Each asks for {self._asks_for()}; the cluster has "
            f"{_said(ray.cluster_resources())}, of which {_said(ray.available_resources())} are free. "
            f"`ray status` shows what waits for what.{hint if 'UV' in os.environ else ''}"
        )

    def _asks_for(self) -> str:
        wanted = {name: self._options[name] for name in ("num_cpus", "num_gpus", "memory", "resources")}
        return ", ".join(f"{name}={amount}" for name, amount in wanted.items() if amount) or "nothing"


def _connect(ray: Any) -> None:
    """Connects this process to Ray, if it is not yet.

    Raises:
        ConfigurationError: There is no way to the cluster.
    """
    if ray.is_initialized():
        return
    tell("Connecting to Ray…")
    address = os.environ.get("RAY_ADDRESS", "")
    next_step = "`ray status` says whether it runs; without RAY_ADDRESS, Ray starts one on this machine."
    host, _, port = address.rpartition(":")
    if host and port.isdigit():  # Ray itself would wait for minutes
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConfigurationError(
                f"No Ray cluster answers at RAY_ADDRESS={address} ({error}). {next_step}"
            ) from error
    try:
        ray.init(log_to_driver=False, logging_level="WARNING")
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigurationError(
            f"There is no way to Ray{f' at RAY_ADDRESS={address}' if address else ''}: {error}. {next_step}"
        ) from error


def _said(resources: Mapping[str, float]) -> str:
    """Resources as a text, without those that each node has of its own."""
    named = {name: amount for name, amount in resources.items() if not name.startswith("node:")}
    return ", ".join(f"{amount:g} {name}" for name, amount in sorted(named.items())) or "nothing"


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise MissingExtraError("RayProvider", "ray") from error
    return ray
