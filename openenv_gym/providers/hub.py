"""Servers of Spaces on the Hugging Face Hub: on the Hub, or on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Literal, get_args

from openenv_gym.backoff import Backoff
from openenv_gym.errors import ConfigurationError, DeadlineExceededError, HubError
from openenv_gym.providers.hub_spaces import SpaceOnHub, TemporaryHubError, space_id
from openenv_gym.providers.progress import tell
from openenv_gym.providers.provider import Provider, at_least_one, keyword_names

Mode = Literal["space", "docker", "local"]
_REGISTRY = "registry.hf.space"
_LONGEST_PAUSE_S = 10.0

# What a Space does in the stages that pass without anybody's help.
_TEMPORARY = {
    "SLEEPING": "is waking up",
    "BUILDING": "is being built",
    "RUNNING_BUILDING": "is being built",
    "APP_STARTING": "is starting",
    "RUNNING_APP_STARTING": "is starting",
}
_UP = {"RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING"}
_NEXT_STEPS = {
    "PAUSED": "Only its owner can resume it, on its page",
    "STOPPED": "Only its owner can resume it, on its page",
    "BUILD_ERROR": "Its build failed; the log is on its page",
    "RUNTIME_ERROR": "Its server ended with an error; the log is on its page",
    "CONFIG_ERROR": "The front matter of its README.md is wrong; see its page",
    "NO_APP_FILE": "It has no Dockerfile: `openenv push` creates one",
    "DELETING": "It is being deleted",
}


class HubProvider(Provider):
    """A Space's server.

    Args:
        space: The Space, ``my-org/my-env``, or the URL of its page.
        mode: "space" uses the server that runs on the Hub, and wakes it if it sleeps; "docker" runs the
            Space's image on the Docker engine here; "local" downloads its files, and serves them from a
            process here.
        token: The token for the Hub; by default, the one from ``hf auth login`` or ``HF_TOKEN``. The server
            of a private Space gets it too.
        trust_remote_code: Must be True for "local", which runs the Space's code as you, on this machine.
        max_sessions: As in `ProcessProvider`, for servers that are started here. A server on the Hub has its
            own limit.
        replicas: How many servers. On the Hub there is one.
        api_key: As in `ProcessProvider`, for servers that are started here.
        ready_timeout_s: The time for the servers to become ready, in seconds, including the time to wake or
            build one, but not to pull or download. By default, 600 for "space", else 60.
        **options: Those of `DockerProvider` for "docker", of `ProcessProvider` for "local".

    Raises:
        ConfigurationError: The name is malformed, the mode is unknown, or it needs trust_remote_code.

    Example:
        >>> with HubProvider("my-org/my-env") as provider:
        ...     env = gymnasium.make("openenv/remote", base_url=provider.base_url)
    """

    poll_s: float = 0.5

    def __init__(
        self,
        space: str,
        *,
        mode: Mode = "space",
        token: str | None = None,
        trust_remote_code: bool = False,
        max_sessions: int | None = None,
        replicas: int = 1,
        api_key: str | None = None,
        ready_timeout_s: float | None = None,
        **options: Any,
    ) -> None:
        self._repo_id = space_id(space)
        if mode not in get_args(Mode):
            raise ConfigurationError(f"mode= must be one of {', '.join(get_args(Mode))}, got {mode!r}")
        if mode == "local" and not trust_remote_code:
            raise ConfigurationError(
                f'mode="local" runs the code of the Space {self._repo_id} on this machine, as you. Look at '
                "its files on the Hub, and pass trust_remote_code=True if you trust it."
            )
        refused = [*options, *(["replicas"] if at_least_one(replicas) > 1 else [])]
        if mode == "space" and refused:
            raise ConfigurationError(
                f"A server that runs on the Hub does not take {', '.join(refused)}. "
                'mode="docker" or "local" starts a server here.'
            )
        self.ready_timeout_s: float = ready_timeout_s or (600.0 if mode == "space" else 60.0)
        self._mode, self._token = mode, token
        self._options = {
            "max_sessions": max_sessions,
            "replicas": replicas,
            "api_key": api_key,
            "ready_timeout_s": self.ready_timeout_s,
            **options,
        }
        self.has_log = self.is_direct = mode != "space"
        if mode != "space":
            # Refuse unknown options now, not after a download.
            signature(_local_provider(mode)).bind("the image or the folder", **options)
        self._space: SpaceOnHub | None = None
        self._local: Provider | None = None  # runs it here

    @classmethod
    def option_names(cls, options: Mapping[str, Any]) -> list[str]:
        names = [
            name for name, value in signature(cls).parameters.items() if value.kind is value.KEYWORD_ONLY
        ]
        mode = options.get("mode", "space")
        # On the Hub, an option of a local provider is not unknown: it needs another mode=.
        for local in [mode] if mode in ("docker", "local") else ["docker", "local"]:
            names += keyword_names(_local_provider(local)) or []
        return list(dict.fromkeys(names))

    def __str__(self) -> str:
        return f"the Space {self._repo_id}"

    def start(self) -> tuple[str, ...]:
        self._space = space = SpaceOnHub.fetch(self._repo_id, self._token)
        if self._mode == "space":
            self._wait_up(space)
            if space.is_private and space.token:
                self.headers = {"Authorization": f"Bearer {space.token}"}
            self.endpoints = (space.host,)
            return self.endpoints
        options = dict(self._options)
        if self._mode == "docker":
            image = f"{_REGISTRY}/{space.subdomain}:latest"
            self._local = _local_provider("docker")(image, **{"port": space.port, **options})
        else:
            self._local = _local_provider("local")(space.download(), **options)
        self.endpoints = self._local.start()
        return self.endpoints

    def check(self) -> None:
        if self._local is not None:
            self._local.check()
        elif self._space is not None:
            _check_stage(self._space, self._space.stage())

    def ended(self) -> Mapping[str, str]:
        """As in `Provider`; a server on the Hub was not started for anybody, so it never counts as ended."""
        return self._local.ended() if self._local is not None else {}

    def logs(self) -> str:
        if self._local is not None:
            return self._local.logs()
        return f"Its log is at {self._space.page}?logs=container\n" if self._space is not None else ""

    def log_of(self, base_url: str) -> str:
        return self.logs() if self._local is None else self._local.log_of(base_url)

    def stop(self) -> None:
        """Stop what runs here. A Space keeps running: others may use it, and it falls asleep by itself."""
        self.endpoints, self.headers, self._space = (), {}, None
        if self._local is not None:
            self._local.stop()

    def _wait_up(self, space: SpaceOnHub) -> None:
        """Wait until the Space runs. A request to its address wakes it if it sleeps."""
        deadline = time.monotonic() + self.ready_timeout_s
        backoff = Backoff(self.poll_s, _LONGEST_PAUSE_S, jitter=False)
        is_woken = False
        while True:
            try:
                stage = space.stage()
            except TemporaryHubError:
                if time.monotonic() > deadline:
                    raise
            else:
                if stage in _UP:
                    return
                _check_stage(space, stage)
                if stage == "SLEEPING" and not is_woken:
                    is_woken = True
                    space.wake(deadline - time.monotonic())
                if time.monotonic() > deadline:
                    raise DeadlineExceededError(
                        f"The Space {space.repo_id} {_TEMPORARY[stage]} for more than "
                        f"{self.ready_timeout_s:g} s (its stage is {stage}).",
                        advice=f"See its log: {space.page}?logs=container",
                        endpoint=space.host,
                    )
                tell(f"The Space {space.repo_id} {_TEMPORARY[stage]}…")
            time.sleep(max(0.0, min(backoff.next_s(), deadline - time.monotonic())))


def _local_provider(mode: str) -> Callable[..., Provider]:
    """What serves a Space's image or its folder here."""
    if mode == "docker":
        from openenv_gym.providers.docker import DockerProvider

        return DockerProvider
    from openenv_gym.providers.process import ProcessProvider

    return ProcessProvider


def _check_stage(space: SpaceOnHub, stage: str) -> None:
    if stage not in _UP and stage not in _TEMPORARY:
        next_step = _NEXT_STEPS.get(stage, "See its page")
        raise HubError(
            f"The Space {space.repo_id} does not run: its stage is {stage}.",
            advice=f"{next_step}: {space.page}",
        )
