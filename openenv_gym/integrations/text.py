"""Any environment for a language model: tools to call, and texts that answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym

from openenv_gym.env import RemoteEnv
from openenv_gym.errors import ConfigurationError, RemoteError, ResetNeededError, SessionLostError
from openenv_gym.generic_client import plain
from openenv_gym.integrations.shared_sessions import SharedSessions
from openenv_gym.providers.sources import SOURCES
from openenv_gym.schema_keywords import ACTION_ONLY_ON_THE_WIRE, OBSERVATION_ONLY_ON_THE_WIRE
from openenv_gym.session.responses import problems, sentence
from openenv_gym.spaces.schema import Node, open_schema
from openenv_gym.spaces.tools import takes_tool_calls

ENDED = "The episode has ended."


class Parameter(NamedTuple):
    """A parameter of a tool.

    Attributes:
        name: Its name on the server.
        node: Its JSON Schema.
        is_required: Whether a call needs it.
    """

    name: str
    node: Node
    is_required: bool


class TextTool(NamedTuple):
    """A tool that a language model calls: one of the environment's, or its action.

    Attributes:
        name: Its name; "step" for the action of an environment without tools.
        description: What it does.
        parameters: The tool's arguments, or the action's fields.
        is_action: Whether it is the action.
    """

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    is_action: bool

    def payload(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the action that is a call with these arguments, as JSON values."""
        if self.is_action:
            return dict(arguments)
        return {"type": "call_tool", "tool_name": self.name, "arguments": dict(arguments)}


class TextServer:
    """The tools of an environment's server, and sessions on it.

    Args:
        source: A name, "openenv/NAME"; or a server's address, "http://localhost:8000".
        **keywords: Of `openenv_gym.RemoteEnv`: another source (``path=``, ``gym=``, …), timeouts, a key.

    Attributes:
        name: The environment's name, for messages.
        tools: The environment's tools; its action if it has none.
        sessions: Closing them ends all sessions.

    Raises:
        ConfigurationError: ``source`` is neither of the two; and what `RemoteEnv` raises.
    """

    def __init__(self, source: str | None = None, **keywords: Any) -> None:
        if source is not None:
            keywords = {**_keywords_of(source), **keywords}
        self._env = env = RemoteEnv(**keywords)
        self.name: str = source or str(env.endpoint)
        self.sessions: SharedSessions = SharedSessions(env.endpoint, env.timeouts)
        self.tools: tuple[TextTool, ...] = _tools(env)
        self._images = {
            finding.path.split(".")[0].removesuffix("[]")
            for finding in env.schema_report["observation"]
            if finding.renders == "rgb_array"
        }

    def session(self) -> TextSession:
        """Return a session, which opens with its first reset."""
        return TextSession(self)

    def close(self) -> None:
        """End all sessions, and stop a server that was started for them."""
        self.sessions.close()
        self._env.close()


class TextSession:
    """One episode after another, in texts.

    Attributes:
        reward: The sum of the episode's rewards.
        done: Whether the episode has ended.
    """

    def __init__(self, server: TextServer) -> None:
        self._server = server
        self._session = server.sessions.session(server._env.capacity_timeout_s)
        self._messages_seen = 0
        self.reward: float = 0.0
        self.done: bool = True

    def reset(self, options: Mapping[str, Any]) -> str:
        """Begin an episode.

        Args:
            options: ``seed``, and further keywords for the environment's own ``reset``.

        Returns:
            The first observation.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.reset`.
        """
        self.reward, self.done, self._messages_seen = 0.0, True, 0
        outcome = self._session.reset(dict(options))
        self.done = False
        return self._text(outcome.observation)

    def call(self, tool: TextTool, arguments: Mapping[str, Any]) -> str:
        """Call a tool, as one step.

        Returns:
            What it answers; or "Error: …" if the call fails, is wrong, or comes after the episode's end.

        Raises:
            EndpointError: The connection was lost, and the session with it. The episode is over.
        """
        if self.done:
            return f"Error: {ENDED}"
        try:
            outcome = self._session.step(tool.payload(arguments))
        except RemoteError as error:
            self.done = not self._session.is_open
            return f"Error: {_words_of(error)}" + (f" {ENDED}" if self.done else "")
        except ResetNeededError as error:
            self.done = True
            raise SessionLostError(
                f"{self._server.name}: the session was lost with the connection that it shares.",
                endpoint=self._session.endpoint.base_url,
                operation="step",
            ) from error
        except BaseException:
            self.done = True
            raise
        self.reward += float(outcome.reward or 0.0)
        self.done = bool(outcome.terminated or outcome.truncated)
        text = self._text(outcome.observation)
        return f"{text}\n{ENDED}".lstrip() if self.done else text

    def _text(self, observation: Mapping[str, Any]) -> str:
        fields = {
            name: value
            for name, value in plain(observation).items()
            if name not in OBSERVATION_ONLY_ON_THE_WIRE and name not in self._server._images
        }
        if "tool_name" in fields and "error" in fields:
            return _tool_text(fields)
        if _is_chat(fields.get("messages")) and len(fields) == 1:
            new = fields["messages"][self._messages_seen :]
            self._messages_seen = len(fields["messages"])
            return "\n".join(message["content"] for message in new if message["role"] != "assistant")
        value = next(iter(fields.values())) if len(fields) == 1 else fields
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if fields else ""


def _keywords_of(source: str) -> dict[str, Any]:
    if re.match(r"(https?|wss?)://", source):
        return {"base_url": source}
    if source.startswith("openenv/"):
        return dict(gym.spec(source).kwargs)
    raise ConfigurationError(
        f'The environment must be "openenv/NAME" or a URL, got {source!r}.',
        advice=f"Name other sources by their keyword: {', '.join(f'{keyword}=' for keyword in SOURCES)}.",
    )


def _tools(env: RemoteEnv) -> tuple[TextTool, ...]:
    action_schema = env._env_spaces.schemas[0]
    if takes_tool_calls(action_schema) and env.tools:
        return tuple(
            TextTool(tool.name, tool.description, _parameters(open_schema(tool.input_schema)), False)
            for tool in env.tools
        )
    node = open_schema(action_schema)
    return (TextTool("step", str(node.schema.get("description") or ""), _parameters(node), True),)


def _parameters(node: Node) -> tuple[Parameter, ...]:
    required = node.schema.get("required", ())
    found = [
        Parameter(name, part, name in required)
        for name, part in node.properties()
        if name not in ACTION_ONLY_ON_THE_WIRE
    ]
    return tuple(sorted(found, key=lambda parameter: not parameter.is_required))


def _tool_text(fields: Mapping[str, Any]) -> str:
    """Return what a tool said, or why it failed."""
    error, result = fields["error"], fields.get("result")
    content = result.get("content") if isinstance(result, dict) else None
    if isinstance(content, list):
        parts = [str(part.get("text") or "") for part in content if isinstance(part, dict)]
        text = "\n".join(filter(None, parts))
    else:
        text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    if isinstance(error, dict):
        return f"Error: {error.get('message') or error.get('error_type')}"
    if error or (isinstance(result, dict) and (result.get("is_error") or result.get("isError"))):
        return f"Error: {error or text}"
    return text


def _is_chat(messages: Any) -> bool:
    return isinstance(messages, list) and all(
        isinstance(message, dict) and isinstance(message.get("content"), str) and "role" in message
        for message in messages
    )


def _words_of(error: RemoteError) -> str:
    """Return the server's words alone: a model has no use for an address, and repeats no request."""
    message = error.server_message or error.message
    return sentence(message + problems(message, error.details))
