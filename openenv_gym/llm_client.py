"""Clients of language models: the OpenAI protocol, which most servers speak, and Anthropic's.

No package is needed but this one. A request runs on a thread, so that many can be under way at a time.
"""

from __future__ import annotations

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, TypeVar
from urllib.parse import urlsplit

from openenv_gym.backoff import Backoff
from openenv_gym.errors import EndpointError, InvalidEndpointError, LanguageModelError, excerpt
from openenv_gym.transport.deadline import Deadline
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import exchange

_TIMEOUT_S = 300.0
_ATTEMPTS = 3
_RETRY_STATUSES = {408, 409, 429}  # and all from 500 on
_HOSTED = {"openai": "https://api.openai.com", "anthropic": "https://api.anthropic.com"}
# OpenAI's models that refuse max_tokens and temperature, by the beginnings of their names.
_WITHOUT_TEMPERATURE = ("gpt-5-mini", "o1", "o3", "o4-mini")

T = TypeVar("T")
Fields = dict[str, Any]


@dataclass
class ToolCall:
    """A call of a tool that a model asks for.

    Attributes:
        id: The id of the call; the answer to it refers to it.
        name: The name of the tool.
        args: The arguments.
    """

    id: str
    name: str
    args: Fields


@dataclass
class LLMResponse:
    """A model's answer.

    Attributes:
        content: Its text.
        tool_calls: The calls that it asks for.
    """

    content: str
    tool_calls: list[ToolCall] = field(default_factory=list)

    def to_message_dict(self) -> Fields:
        """Return it as a message of a conversation, in OpenAI's form."""
        message: Fields = {"role": "assistant", "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.args)},
                }
                for call in self.tool_calls
            ]
        return message


class LLMClient(ABC):
    """A client of a language model. A subclass implements `complete` for a protocol.

    Args:
        endpoint: The URL of the server, which may have a port and a path.
        port: The port, if the URL has none.
    """

    def __init__(self, endpoint: str, port: int | None) -> None:
        self.endpoint = endpoint
        self.port = port

    @abstractmethod
    async def complete(self, prompt: str, **kwargs: Any) -> str:
        """Return the model's answer to a prompt.

        Args:
            prompt: The prompt.
            **kwargs: ``temperature`` and ``max_tokens``, if they differ from the client's.

        Raises:
            LanguageModelError: The endpoint refuses, fails, or is unreachable.
        """

    async def complete_with_tools(
        self, messages: list[Fields], tools: list[Fields], **kwargs: Any
    ) -> LLMResponse:
        """Return the model's next message in a conversation, with the tool calls that it asks for.

        Args:
            messages: The conversation, in OpenAI's form.
            tools: The tools, in MCP's form: ``name``, ``description`` and ``inputSchema``.
            **kwargs: As in `complete`.

        Raises:
            LanguageModelError: As in `complete`.
            NotImplementedError: The client calls no tools.
        """
        raise NotImplementedError(f"{type(self).__name__} calls no tools")

    @property
    def base_url(self) -> str:
        """The URL of the server, with the port.

        Raises:
            InvalidEndpointError: It is not a URL, or its port is another one.
        """
        parts = urlsplit(str(Endpoint.parse(self.endpoint, api_key="")))
        if urlsplit(self.endpoint).query or urlsplit(self.endpoint).fragment:
            raise InvalidEndpointError(f"{self.endpoint!r} must have no query and no fragment.")
        if self.port is None or parts.port == self.port:
            return parts.geturl()
        if parts.port is not None:
            raise InvalidEndpointError(f"{self.endpoint!r} has another port than port={self.port}.")
        with_port = parts._replace(netloc=f"{parts.netloc}:{self.port}").geturl()
        return str(Endpoint.parse(with_port, api_key=""))


class _ModelClient(LLMClient):
    """What the clients of both protocols share."""

    def __init__(
        self,
        endpoint: str,
        port: int | None,
        model: str,
        api_key: str | None,
        system_prompt: str | None,
        temperature: float,
        max_tokens: int,
    ) -> None:
        super().__init__(endpoint, port)
        self.model = model
        self.system_prompt = system_prompt
        self.temperature = temperature
        self.max_tokens = max_tokens
        self._server = Endpoint.parse(self.base_url, api_key="", headers=self._headers(api_key))

    def _headers(self, api_key: str | None) -> dict[str, str]:
        return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}

    @abstractmethod
    async def _ask(self, messages: list[Fields], tools: list[Fields], options: Fields) -> LLMResponse:
        """Return the model's next message."""

    async def complete(self, prompt: str, **kwargs: Any) -> str:
        """Return the model's answer to a prompt."""
        return (await self._ask([{"role": "user", "content": prompt}], [], kwargs)).content

    async def complete_with_tools(
        self, messages: list[Fields], tools: list[Fields], **kwargs: Any
    ) -> LLMResponse:
        """Return the model's next message in a conversation, with the tool calls that it asks for."""
        return await self._ask(messages, tools, kwargs)

    async def _post(self, path: str, body: Fields) -> Any:
        return await _on_a_thread(lambda: _post(self._server, path, body))


class OpenAIClient(_ModelClient):
    """A client of an OpenAI-compatible endpoint: OpenAI, vLLM, TGI, Ollama, llama.cpp and others.

    Args:
        endpoint: The URL of the server. Without a path, ``/v1`` is added.
        port: The port, if the URL has none.
        model: The model's name.
        api_key: The key. Default: none is sent.
        system_prompt: The first message of every prompt.
        temperature: The sampling temperature.
        max_tokens: The most tokens of an answer.
        use_max_completion_tokens: Send the limit as ``max_completion_tokens``, and no temperature, as newer
            models of OpenAI want it.

    Raises:
        InvalidEndpointError: The URL cannot be used.

    Example:
        >>> client = OpenAIClient("http://localhost", 8000, model="Qwen/Qwen3-8B")
        >>> await client.complete("What is 2 + 2?")
    """

    def __init__(
        self,
        endpoint: str,
        port: int | None,
        model: str,
        api_key: str | None = None,
        system_prompt: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = 256,
        use_max_completion_tokens: bool = False,
    ) -> None:
        super().__init__(endpoint, port, model, api_key, system_prompt, temperature, max_tokens)
        self._is_newer = use_max_completion_tokens

    async def complete(self, prompt: str, **kwargs: Any) -> str:
        """Return the model's answer to a prompt."""
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        return (await self._ask([*system, {"role": "user", "content": prompt}], [], kwargs)).content

    async def _ask(self, messages: list[Fields], tools: list[Fields], options: Fields) -> LLMResponse:
        limit = options.get("max_tokens", self.max_tokens)
        body: Fields = {"model": self.model, "messages": messages}
        if self._is_newer:
            body["max_completion_tokens"] = limit
        else:
            body |= {"max_tokens": limit, "temperature": options.get("temperature", self.temperature)}
        if tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool["name"],
                        "description": tool.get("description", ""),
                        "parameters": _object_schema(tool.get("inputSchema")),
                    },
                }
                for tool in tools
            ]
        prefix = "" if urlsplit(self.base_url).path else "/v1"
        answer = await self._post(f"{prefix}/chat/completions", body)
        with _reading(self._server, answer):
            message = answer["choices"][0]["message"]
            calls = [
                ToolCall(call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
                for call in message.get("tool_calls") or ()
            ]
            return LLMResponse(message.get("content") or "", calls)


class AnthropicClient(_ModelClient):
    """A client of Anthropic's endpoint.

    Args:
        endpoint: The URL of the server, ``https://api.anthropic.com``.
        port: The port, if the URL has none.
        model: The model's name.
        api_key: The key. Default: none is sent.
        system_prompt: The instructions before every prompt.
        temperature: The sampling temperature.
        max_tokens: The most tokens of an answer.

    Raises:
        InvalidEndpointError: The URL cannot be used.
    """

    def __init__(
        self,
        endpoint: str,
        port: int | None,
        model: str,
        api_key: str | None = None,
        system_prompt: str | None = None,
        temperature: float = 0.0,
        max_tokens: int = 256,
    ) -> None:
        super().__init__(endpoint, port, model, api_key, system_prompt, temperature, max_tokens)

    def _headers(self, api_key: str | None) -> dict[str, str]:
        key = {} if api_key is None else {"x-api-key": api_key}
        return {"anthropic-version": "2023-06-01", **key}

    async def _ask(self, messages: list[Fields], tools: list[Fields], options: Fields) -> LLMResponse:
        system = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
        body: Fields = {
            "model": self.model,
            "messages": _turns(messages),
            "temperature": options.get("temperature", self.temperature),
            "max_tokens": options.get("max_tokens", self.max_tokens),
        }
        if instructions := system or self.system_prompt:
            body["system"] = instructions
        if tools:
            body["tools"] = [
                {
                    "name": tool["name"],
                    "description": tool.get("description", ""),
                    "input_schema": _object_schema(tool.get("inputSchema")),
                }
                for tool in tools
            ]
        answer = await self._post("/v1/messages", body)
        with _reading(self._server, answer):
            parts = answer["content"]
            return LLMResponse(
                "".join(part["text"] for part in parts if part["type"] == "text"),
                [
                    ToolCall(part["id"], part["name"], part["input"])
                    for part in parts
                    if part["type"] == "tool_use"
                ],
            )


def create_llm_client(
    provider: str,
    model: str,
    api_key: str,
    *,
    system_prompt: str | None = None,
    temperature: float = 0.0,
    max_tokens: int = 4096,
) -> LLMClient:
    """Make a client of a hosted model.

    Args:
        provider: "openai" or "anthropic".
        model: The model's name.
        api_key: The key.
        system_prompt: The instructions before every prompt.
        temperature: The sampling temperature.
        max_tokens: The most tokens of an answer.

    Raises:
        ValueError: Another provider.
    """
    name = provider.lower()
    if name not in _HOSTED:
        raise ValueError(f"Unknown provider {provider!r}; the providers are {', '.join(sorted(_HOSTED))}")
    given = (_HOSTED[name], 443, model, api_key, system_prompt, temperature, max_tokens)
    if name == "anthropic":
        return AnthropicClient(*given)
    return OpenAIClient(*given, use_max_completion_tokens=model.startswith(_WITHOUT_TEMPERATURE))


def _turns(messages: list[Fields]) -> list[Fields]:
    """Return a conversation in Anthropic's form: the results of tools stand in the user's turns."""
    turns: list[Fields] = []
    for message in messages:
        role, content = message["role"], message.get("content") or ""
        if role == "tool":
            result = {"type": "tool_result", "tool_use_id": message["tool_call_id"], "content": content}
            if turns and turns[-1]["role"] == "user" and isinstance(turns[-1]["content"], list):
                turns[-1]["content"].append(result)
            else:
                turns.append({"role": "user", "content": [result]})
        elif role == "assistant" and message.get("tool_calls"):
            parts = [{"type": "text", "text": content}] if content else []
            turns.append({"role": role, "content": [*parts, *map(_tool_use, message["tool_calls"])]})
        elif role in ("user", "assistant"):
            turns.append({"role": role, "content": content})
    return turns


def _tool_use(call: Fields) -> Fields:
    function = call["function"]
    arguments = function["arguments"]
    given = json.loads(arguments) if isinstance(arguments, str) else arguments
    return {"type": "tool_use", "id": call["id"], "name": function["name"], "input": given}


def _object_schema(schema: Any) -> Fields:
    """Return a tool's input schema as one object schema, without alternatives at its top."""
    found = schema if isinstance(schema, dict) else {}
    if "allOf" in found:
        parts = [part for part in found["allOf"] if isinstance(part, dict)]
        found = {
            "properties": {name: each for part in parts for name, each in part.get("properties", {}).items()},
            "required": [name for part in parts for name in part.get("required", ())],
        }
    for alternatives in ("oneOf", "anyOf"):
        if alternatives in found:
            objects = (part for part in found[alternatives] if isinstance(part, dict))
            found = next((part for part in objects if part.get("type") == "object"), {})
    complete = {"type": "object", **found}
    return {"properties": {}, **complete} if complete["type"] == "object" else complete


@contextmanager
def _reading(server: Endpoint, answer: Any) -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise LanguageModelError(
            f"The answer of {server} cannot be read: {excerpt(answer)}.", endpoint=server.base_url
        ) from error


async def _on_a_thread(work: Callable[[], T]) -> T:
    done: Future[T] = Future()

    def run() -> None:
        if done.set_running_or_notify_cancel():
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

    Thread(target=run, name="openenv-llm", daemon=True).start()
    return await asyncio.wrap_future(done)


def _post(server: Endpoint, path: str, body: Fields) -> Any:
    """Return the answer to a request; retry while the endpoint is busy or unreachable."""
    backoff = Backoff(0.5, 8.0)
    for attempt in range(1, _ATTEMPTS + 1):
        cause: Exception | None = None
        try:
            status, _, text = exchange(server, "POST", path, json.dumps(body).encode(), Deadline(_TIMEOUT_S))
            if status < 300:
                return json.loads(text)
            reason = f"it answered {status}: {excerpt(text.decode(errors='replace'))}"
            is_lasting = status < 500 and status not in _RETRY_STATUSES
        except EndpointError as error:
            reason, is_lasting, cause = error.message.rstrip("."), False, error
        except (ValueError, RecursionError) as error:
            reason, is_lasting, cause = f"its answer is not JSON ({error})", True, error
        if is_lasting or attempt == _ATTEMPTS:
            break
        time.sleep(backoff.next_s())
    raise LanguageModelError(
        f"The language model at {server}{path} failed: {reason}.",
        endpoint=server.base_url,
        operation=f"POST {path}",
    ) from cause
