"""Servers of Spaces of the Hugging Face Hub: where they run, or here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Literal, get_args

from openenv_gym.errors import ConfigurationError, DeadlineExceededError, HubError
from openenv_gym.hub_names import space_id
from openenv_gym.providers.progress import tell
from openenv_gym.providers.provider import Provider
from openenv_gym.providers.spaces import PassingHubError, SpaceOnHub

Mode = Literal["space", "docker", "local"]
_REGISTRY = "registry.hf.space"
# The pauses between two questions what a Space does grow by a half, up to this many seconds.
_LONGEST_PAUSE_S = 10.0

# What is said of a stage that ends, or goes by, without anybody's doing.
_PASSING = {
    "SLEEPING": "wakes",
    "BUILDING": "is being built",
    "RUNNING_BUILDING": "is being built",
    "APP_STARTING": "starts",
    "RUNNING_APP_STARTING": "starts",
}
_UP = {"RUNNING", "RUNNING_BUILDING", "RUNNING_APP_STARTING"}
_NEXT_STEPS = {
    "PAUSED": "Only its owner can go on with it, on its page",
    "STOPPED": "Only its owner can go on with it, on its page",
    "BUILD_ERROR": "Its build failed; the log is on its page",
    "RUNTIME_ERROR": "Its server ended with an error; the log is on its page",
    "CONFIG_ERROR": "The front matter of its README.md is wrong; its page says where",
    "NO_APP_FILE": "It has no Dockerfile: `openenv push` makes one",
    "DELETING": "It is being deleted",
}


class HubProvider(Provider):
    """A Space's server.

    Args:
        repo_id: The Space, ``my-org/my-env``, or the address of its page.
        mode: "space" is the server that runs on the Hub, which is woken where it sleeps; "docker" runs the
            Space's image on the Docker engine here; "local" downloads its files, and serves them from a
            process here.
        token: What to show to the Hub; the one that ``hf auth login`` or ``HF_TOKEN`` left where left out.
            The server of a private Space is shown it too.
        trust_remote_code: "local" runs the Space's code as you, on this machine, and needs a True.
        api_key: As in `ProcessProvider`, of a server that is started here.
        ready_timeout_s: The time for the servers to be ready, in seconds, to be woken or built among it, but
            without the time to pull or download. Where left out, 600 for "space", else 60.
        **options: Those of `DockerProvider` for "docker", of `ProcessProvider` for "local".

    Raises:
        ConfigurationError: No Space can have this name, or the mode is none, or needs trust_remote_code.

    Example:
        >>> with HubProvider("my-org/my-env") as provider:
        ...     env = gymnasium.make("openenv/remote", base_url=provider.base_url)
    """

    poll_s = 0.5

    def __init__(
        self,
        repo_id: str,
        *,
        mode: Mode = "space",
        token: str | None = None,
        trust_remote_code: bool = False,
        api_key: str | None = None,
        ready_timeout_s: float | None = None,
        **options: Any,
    ) -> None:
        self._repo_id = space_id(repo_id)
        if mode not in get_args(Mode):
            raise ConfigurationError(f"mode= is one of {', '.join(get_args(Mode))}, not {mode!r}")
        if mode == "local" and not trust_remote_code:
            raise ConfigurationError(
                f'mode="local" runs the code of the Space {self._repo_id} on this machine, as you. Look at '
                "its Files on the Hub, and pass trust_remote_code=True if you trust it."
            )
        if mode == "space" and options:
            raise ConfigurationError(
                f"{', '.join(options)} cannot be said of a server that runs on the Hub; "
                'mode="docker" or "local" starts one here'
            )
        self.ready_timeout_s = ready_timeout_s or (600.0 if mode == "space" else 60.0)
        self._mode, self._token, self._api_key, self._options = mode, token, api_key, options
        self.has_log = mode != "space"
        if mode != "space":
            # Options that there are not are said now, and not after a download.
            signature(self._kind_here()).bind("the image or the folder", **options)
        self._space: SpaceOnHub | None = None
        self._local: Provider | None = None  # what runs it here

    def __str__(self) -> str:
        return f"the Space {self._repo_id}"

    def start(self) -> tuple[str, ...]:
        self._space = space = SpaceOnHub.ask(self._repo_id, self._token)
        if self._mode == "space":
            self._wake(space)
            if space.is_private and space.token:
                self.headers = {"Authorization": f"Bearer {space.token}"}
            self.endpoints = (space.host,)
        else:
            self._local = self._provider_here(space)
            self.endpoints = self._local.start()
        return self.endpoints

    def check(self) -> None:
        if self._local is not None:
            self._local.check()
        elif self._space is not None:
            _check_stage(self._space, self._space.stage())

    def ended(self) -> Mapping[str, str]:
        """Only what runs here was started for somebody."""
        return self._local.ended() if self._local is not None else {}

    def logs(self) -> str:
        if self._local is not None:
            return self._local.logs()
        return f"Its log is at {self._space.page}?logs=container\n" if self._space is not None else ""

    def log_of(self, base_url: str) -> str:
        return self.logs() if self._local is None else self._local.log_of(base_url)

    def stop(self) -> None:
        """Stops what runs here. A Space goes on: others may use it, and it falls asleep by itself."""
        self.endpoints, self.headers, self._space = (), {}, None
        if self._local is not None:
            self._local.stop()

    def _wake(self, space: SpaceOnHub) -> None:
        """Waits until the Space runs; the first request to its address wakes one that sleeps."""
        deadline, pause_s = time.monotonic() + self.ready_timeout_s, self.poll_s
        has_knocked = False
        while True:
            try:
                stage = space.stage()
            except PassingHubError:
                if time.monotonic() > deadline:
                    raise
            else:
                if stage in _UP:
                    return
                _check_stage(space, stage)
                if stage == "SLEEPING" and not has_knocked:
                    has_knocked = True
                    space.knock()
                if time.monotonic() > deadline:
                    raise DeadlineExceededError(
                        f"The Space {space.repo_id} {_PASSING[stage]} for more than "
                        f"{self.ready_timeout_s:g} s (its stage is {stage}). Its page says why: "
                        f"{space.page}?logs=container"
                    )
                tell(f"The Space {space.repo_id} {_PASSING[stage]}…")
            time.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
            pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    def _provider_here(self, space: SpaceOnHub) -> Provider:
        options: Mapping[str, Any] = {
            "ready_timeout_s": self.ready_timeout_s,
            "api_key": self._api_key,
            **self._options,
        }
        if self._mode == "docker":
            image = f"{_REGISTRY}/{space.subdomain}:latest"
            return self._kind_here()(image, **{"port": space.port, **options})
        return self._kind_here()(space.download(), **options)

    def _kind_here(self) -> Callable[..., Provider]:
        """What serves an image or a folder here."""
        if self._mode == "docker":
            from openenv_gym.providers.docker import DockerProvider

            return DockerProvider
        from openenv_gym.providers.process import ProcessProvider

        return ProcessProvider


def _check_stage(space: SpaceOnHub, stage: str) -> None:
    if stage not in _UP and stage not in _PASSING:
        next_step = _NEXT_STEPS.get(stage, "Its page says more")
        raise HubError(
            f"The Space {space.repo_id} does not run: its stage is {stage}. {next_step}: {space.page}"
        )
