"""Servers that are started for an environment or a client, from its keywords, and stopped with it."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Any

from openenv_gym.errors import (
    ConfigurationError,
    EndpointError,
    EndpointUnreachableError,
    OpenEnvError,
    RemoteEnvironmentError,
    ServerEndedError,
    SessionLostError,
    UnknownKeywordError,
)
from openenv_gym.providers.provider import Provider, at_least_one, keyword_names
from openenv_gym.providers.sources import SOURCES, Source
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

# What ``provider=`` takes: a name in the table of sources, or what makes a `Provider`.
ProviderChoice = str | Callable[..., Provider]

# The sessions that a server has by default.
_DEFAULT_SESSIONS = 64
# Keywords of gym.make and gym.make_vec, which provider_options= therefore cannot have.
_SEPARATE = ("replicas", "api_key")

_LOG_LINES = 30
_LOG_TIMEOUT_S = 1.0
_LOG_POLL_S = 0.01
# A connection breaks a moment before the end of its server can be seen.
_END_TIMEOUT_S = 5.0
_END_POLL_S = 0.05


def start_servers(
    *,
    sessions: int,
    sources: Mapping[str, object],
    replicas: int = 1,
    provider: ProviderChoice | None = None,
    provider_options: Mapping[str, Any] | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> ManagedServers:
    """Start servers from a source, and wait until they are ready.

    Args:
        sessions: How many sessions are needed, on all servers together.
        sources: The keywords of the source (``{"path": "./my_env"}``); exactly one is not None.
        replicas: How many servers. If there are several, any one of them may fail: the others have room for
            its sessions.
        provider: What starts the servers: a name in `SOURCES` ("ray"), or a `Provider` class or other
            callable that makes a `Provider`. It is called like ours, with the source's keyword,
            ``replicas``, ``max_sessions`` (None for the server's default), ``api_key`` and the options. By
            default, what the source names.
        provider_options: More keywords for the provider.
        api_key: The key that the client shows, and that the servers therefore require.
        headers: The headers of the client; an ``Authorization`` among them has the key.

    Raises:
        ConfigurationError: Not exactly one source was given, it is an address, or the provider does not take
            it, or the options.
        OpenEnvError: The servers could not be started. Nothing is left of them.
    """
    key = key_to_ask_for(api_key, headers)
    source = Source.of(sources, "The environment")
    return ManagedServers(make_provider(source, sessions, replicas, provider, provider_options, key))


def servers_for(
    base_url: object, source: Mapping[str, object], *, replicas: int = 1, **keywords: Any
) -> ManagedServers | None:
    """Start the servers of an environment, unless they run already.

    Args:
        base_url: The address, or addresses, of servers that run; None to start some.
        source: The keywords that may name a source instead.
        replicas: How many servers to start.
        **keywords: As in `start_servers`.

    Raises:
        ConfigurationError: Neither an address nor exactly one source was given, or both, or options for
            servers that run already; and as in `start_servers`.
    """
    given = {name: value for name, value in source.items() if value is not None}
    if "wrappers" in given:
        options = {**(keywords.get("provider_options") or {}), "wrappers": given.pop("wrappers")}
        keywords["provider_options"] = options
    if base_url is None and not given:
        raise ConfigurationError(
            "openenv/remote needs the server.",
            advice='If it runs: gym.make("openenv/remote", base_url="http://localhost:8000"). To serve a '
            'folder: gym.make("openenv/remote", path="./my_env"). '
            f"Name one of {', '.join(f'{keyword}=' for keyword in SOURCES)}.",
        )
    if base_url is None:
        return start_servers(sources=given, replicas=replicas, **keywords)
    if given:
        Source.of({"base_url": base_url, **given}, "The environment")
    starting = (keywords.get("provider"), keywords.get("provider_options"))
    if replicas != 1 or any(value is not None for value in starting):
        raise ConfigurationError(
            "replicas=, wrappers=, provider= and provider_options= start servers, but "
            f"{base_url} runs already.",
            advice="Leave them out, or leave out base_url=.",
        )
    return None


def make_provider(
    source: Source,
    sessions: int = 1,
    replicas: int = 1,
    provider: ProviderChoice | None = None,
    provider_options: Mapping[str, Any] | None = None,
    api_key: str | None = None,
) -> Provider:
    """Make the provider of a source, as `start_servers` does, and start nothing."""
    if source.is_address:
        raise ConfigurationError(f"The server at {source.value} runs already, so there is nothing to start")
    make, options = _factory(source, provider), dict(provider_options or {})
    named = f" with provider={provider!r}" if isinstance(provider, str) else ""
    _check_options(options, make, f"{source.kind}={named}")
    each = -(-sessions // max(at_least_one(replicas) - 1, 1))
    keywords: dict[str, Any] = {
        **source.keywords,
        "replicas": replicas,
        "max_sessions": each if each > _DEFAULT_SESSIONS else None,
        "api_key": api_key,
        **options,
    }
    try:
        made = make(**keywords)
    except TypeError as error:
        raise ConfigurationError(f"The provider of {source.kind}={source.value!r}: {error}") from error
    if not isinstance(made, Provider):
        raise ConfigurationError(f"provider= must make a Provider, but {make!r} returned {made!r}")
    return made


def check_keywords(
    callee: str, given: Iterable[str], known: Iterable[str], *, vector_only: Iterable[str] = ()
) -> None:
    """Refuse unknown keywords of ``gym.make`` and ``gym.make_vec``, before anything is started.

    Args:
        callee: The name of the class that was given them.
        given: The keywords to check.
        known: The keywords that the environment takes, besides the sources.
        vector_only: The keywords that only ``gym.make_vec`` takes; () if the environment is a vector one.

    Raises:
        UnknownKeywordError: A keyword is unknown, or belongs to ``gym.make_vec``.
    """
    known = [*known, *SOURCES, "wrappers"]
    for name in given:
        if name in known:
            continue
        refused = f"{callee}.__init__() got an unexpected keyword argument {name!r}."
        if name in vector_only:
            raise UnknownKeywordError(
                f"{refused} Only gym.make_vec takes {name}=, because it has many sessions: "
                'gym.make_vec("openenv/remote", num_envs=64, path="./my_env", replicas=2)'
            )
        raise UnknownKeywordError(
            f"{refused}{did_you_mean(name, known, '{}=')} "
            f"The server is named by one of {', '.join(f'{keyword}=' for keyword in SOURCES)}."
        )


class ManagedServers:
    """Servers that run until `stop`, at the latest until this object is collected or the interpreter exits.

    A fork has a copy of this object, but the servers stay those of the process that started them.

    Args:
        provider: Starts the servers, and stops them.

    Attributes:
        endpoints: The base URLs at which the servers started.
        headers: The headers that every request to the servers needs.
        is_direct: Whether they are reached without a proxy.

    Raises:
        OpenEnvError: The servers could not be started. Nothing is left of them.
    """

    def __init__(self, provider: Provider) -> None:
        self.endpoints: tuple[str, ...] = provider.launch()
        self.headers: dict[str, str] = dict(provider.headers)
        self.is_direct: bool = provider.is_direct
        self._provider, self._pid = provider, os.getpid()
        self._stop = partial(_stop_in_process, provider, self._pid)
        self._finalizer = weakref.finalize(self, self._stop)

    @property
    def base_url(self) -> str:
        """The first server's base URL."""
        return self.endpoints[0]

    def addresses(self) -> tuple[str, ...]:
        """The servers' present base URLs: a provider may restart a server at another address."""
        return self._provider.addresses()

    def explain(self, error: OpenEnvError) -> None:
        """Add to a session's error what is known about its server; the caller raises the error again.

        An error that the environment raised gets the end of the server's log as a note. If the connection
        broke because the server has ended, that is raised instead.

        Args:
            error: Its ``endpoint`` says which server it is about; None means any of them.

        Raises:
            ServerEndedError: The server has ended.
        """
        if os.getpid() != self._pid or isinstance(error, ServerEndedError):
            return
        if isinstance(error, RemoteEnvironmentError):
            self._add_log(error)
        elif isinstance(error, SessionLostError | EndpointUnreachableError):
            self._raise_if_ended(error)

    def stop(self) -> None:
        """Stop the servers. Safe to call again, also after it failed."""
        self._stop()
        self._finalizer.detach()

    def _concerned(self, error: OpenEnvError) -> tuple[str, ...]:
        """The servers that an error is about."""
        present = self._provider.endpoints
        if error.endpoint is None:
            return present
        return tuple(base_url for base_url in present if base_url == error.endpoint)

    def _add_log(self, error: RemoteEnvironmentError) -> None:
        """Add the end of the server's log, which has the traceback, as a note. Waits up to 1 s for it."""
        provider, concerned = self._provider, self._concerned(error)
        read = partial(provider.log_of, concerned[0]) if len(concerned) == 1 else provider.logs
        log, heading = read(), ""
        if provider.has_log:
            heading = "The server's log ends with:\n"
            # The traceback was written before the response was sent, but another thread reads it.
            error_id, deadline = str(error.details.get("error_id", "")), time.monotonic() + _LOG_TIMEOUT_S
            while error_id not in log and time.monotonic() < deadline:
                time.sleep(_LOG_POLL_S)
                log = read()
        if log.strip():
            error.add_note(heading + "\n".join(log.splitlines()[-_LOG_LINES:]))

    def _raise_if_ended(self, error: SessionLostError | EndpointUnreachableError) -> None:
        """Wait up to 5 s for the end of a server that no longer answers.

        If the provider restarts its servers, nothing is waited for, and the error gets a note that says so.
        """
        provider = self._provider
        if not (concerned := self._concerned(error)):
            return
        deadline = time.monotonic() + (0.0 if provider.restarts else _END_TIMEOUT_S)
        while True:
            ended = provider.ended()
            for base_url in concerned:
                if base_url in ended:
                    raise _server_ended(base_url, ended, len(provider.endpoints)) from error
            left_s = deadline - time.monotonic()
            if left_s <= 0 or all(self._answers(base_url, left_s) for base_url in concerned):
                break
            time.sleep(_END_POLL_S)
        if provider.restarts:
            error.add_note(
                f"The server at {concerned[0]} was started for this environment. If it has ended, it is "
                "restarted at another address, and with capacity_timeout_s= a reset waits for it."
            )

    def _answers(self, base_url: str, timeout_s: float) -> bool:
        try:
            endpoint = Endpoint.parse(base_url, is_direct=self.is_direct)
            get_json(endpoint, "/health", timeout_s=timeout_s)
        except EndpointError:
            return False
        return True


def _stop_in_process(provider: Provider, pid: int) -> None:
    if os.getpid() == pid:
        provider.stop()


def _factory(source: Source, provider: ProviderChoice | None) -> Callable[..., Provider]:
    """What makes the provider of a source.

    Raises:
        ConfigurationError: ``provider=`` is neither callable nor a name that goes with the source.
    """
    kind = SOURCES[source.kind]
    if callable(provider):
        return provider
    if provider is not None and provider not in kind.named_providers:
        takers = [other.keyword for other in SOURCES.values() if provider in other.named_providers]
        if takers:
            raise ConfigurationError(
                f"provider={provider!r} cannot serve {source.kind}=. It takes "
                f"{', '.join(f'{keyword}=' for keyword in takers)}."
            )
        names = sorted({repr(name) for other in SOURCES.values() for name in other.named_providers})
        raise ConfigurationError(
            f"provider= must be {', '.join(names)} or a callable that makes a Provider, got {provider!r}"
        )
    module, _, attribute = (kind.named_providers[provider] if provider else kind.provider).partition(":")
    factory: Callable[..., Provider] = getattr(import_module(module), attribute)
    return factory


def _check_options(options: Mapping[str, Any], make: Callable[..., Provider], what: str) -> None:
    """Refuse unknown options.

    Raises:
        ConfigurationError: An option is unknown; the message has the known ones.
    """
    if isinstance(make, type) and issubclass(make, Provider):
        known = make.option_names(options)
    else:
        known = keyword_names(make)
    if known is None:
        return  # it takes any keyword
    known = [name for name in known if name not in (*SOURCES, *_SEPARATE)]
    for name in options:
        if name in _SEPARATE:
            raise ConfigurationError(f"provider_options= cannot have {name!r}: pass {name}= beside it")
        if name not in known:
            raise ConfigurationError(
                f"Unknown option {name!r} in provider_options=.{did_you_mean(name, known, '{!r}')} "
                f"The options of {what} are {', '.join(known)}."
            )


def did_you_mean(name: str, known: Iterable[str], spelling: str) -> str:
    """Return a question with the known name that is nearest, or nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f" Did you mean {spelling.format(near[0])}?" if near else ""


def _server_ended(base_url: str, ended: Mapping[str, str], count: int) -> ServerEndedError:
    left = count - len(ended)
    if left:
        advice = f"It is not restarted: `reset` moves its slots to the {left} of {count} that still run."
    else:
        none_left = f"None of the {count} servers is left. " if count > 1 else ""
        advice = f"{none_left}Close this environment and make a new one."
    return ServerEndedError(
        f"The server at {base_url}, which was started for this environment, has ended. "
        f"{ended[base_url].rstrip()}\n",
        advice=advice,
        endpoint=base_url,
    )
