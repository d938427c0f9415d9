"""The clients of language models, against a server that speaks their protocols."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from openenv_gym.errors import LanguageModelError
from openenv_gym.llm_client import (
    AnthropicClient,
    LLMClient,
    LLMResponse,
    OpenAIClient,
    ToolCall,
    create_llm_client,
)
from tests.support.model_server import model_server

ADD = {
    "name": "add",
    "description": "Add numbers",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Add"},
    {"role": "assistant", "content": "Now", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
    {"role": "tool", "tool_call_id": "c1", "content": "3"},
    {"role": "tool", "tool_call_id": "c2", "content": "4"},
]


def test_a_prompt_is_completed() -> None:
    with model_server("4") as server:
        client = OpenAIClient(server.base_url, None, "m", api_key="k", system_prompt="Be brief.")
        assert asyncio.run(client.complete("2 + 2?", temperature=0.5)) == "4"
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == "Bearer k"
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}],
        "max_tokens": 256,
        "temperature": 0.5,
    }


@pytest.mark.parametrize(("path", "posted"), [("", "/v1"), ("/", "/v1"), ("/v1/", "/v1"), ("/a/b", "/a/b")])
def test_the_url_may_have_a_path_and_a_port(path: str, posted: str) -> None:
    with model_server("4") as server:
        host, _, port = server.base_url.rpartition(":")
        for endpoint, number in ((host + path, int(port)), (server.base_url + path, None)):
            client = OpenAIClient(endpoint, number, "m", max_tokens=5, use_max_completion_tokens=True)
            asyncio.run(client.complete(""))
    for asked in server.asked:
        assert asked.path == f"{posted}/chat/completions"
        assert "authorization" not in asked.headers
        assert asked.body["max_completion_tokens"] == 5
        assert not {"max_tokens", "temperature"} & {*asked.body}


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        *(("localhost", 80), ("ftp://host", 80), ("http://host:99999", None), ("http://host", 70000)),
        *(("http://user:secret@host", None), ("http://host?a=1", None), ("http://host:1", 2)),
    ],
)
def test_what_is_no_url_is_refused(endpoint: str, port: int | None) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  - a published client raises it
        OpenAIClient(endpoint, port, "m")
    assert "secret" not in str(refused.value)


def test_tools_are_called() -> None:
    with model_server({"role": "assistant", "content": None, "tool_calls": [CALL]}) as server:
        response = asyncio.run(OpenAIClient(server.base_url, None, "m").complete_with_tools(TALK, [ADD]))
    assert response == LLMResponse("", [ToolCall("c1", "add", {"a": 1})])
    assert response.to_message_dict()["tool_calls"] == [CALL]
    (asked,) = server.asked
    assert asked.body["messages"] == TALK
    assert asked.body["tools"] == [
        {
            "type": "function",
            "function": {"name": "add", "description": "Add numbers", "parameters": ADD["inputSchema"]},
        }
    ]


def test_anthropic_models_are_asked_in_their_form() -> None:
    use = {"type": "tool_use", "id": "c3", "name": "add", "input": {"a": 7}}
    with model_server([{"type": "text", "text": "Yes"}, use]) as server:
        client = AnthropicClient(server.base_url, None, "m", api_key="k")
        response = asyncio.run(client.complete_with_tools(TALK, [ADD]))
        assert asyncio.run(client.complete("Hi")) == "Yes"
    assert response == LLMResponse("Yes", [ToolCall("c3", "add", {"a": 7})])
    asked, _ = server.asked
    assert asked.path == "/v1/messages"
    assert asked.headers["x-api-key"] == "k"
    assert asked.body["system"] == "Be brief."
    assert [turn["role"] for turn in asked.body["messages"]] == ["user", "assistant", "user"]
    assert [part["type"] for part in asked.body["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]
    assert [part["tool_use_id"] for part in asked.body["messages"][2]["content"]] == ["c1", "c2"]
    assert asked.body["tools"][0]["input_schema"] == ADD["inputSchema"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (None, {"type": "object", "properties": {}}),
        ({"anyOf": [{"type": "null"}, ADD["inputSchema"]]}, ADD["inputSchema"]),
        ({"oneOf": [{"type": "null"}]}, {"type": "object", "properties": {}}),
        (
            {"allOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"b": {}}}]},
            {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]},
        ),
    ],
)
def test_the_schema_of_a_tool_is_one_object(schema: Any, expected: dict[str, Any]) -> None:
    with model_server("") as server:
        tool = {"name": "add", "inputSchema": schema}
        asyncio.run(OpenAIClient(server.base_url, None, "m").complete_with_tools([], [tool]))
    assert server.asked[0].body["tools"][0]["function"]["parameters"] == expected


def test_a_busy_server_is_asked_again() -> None:
    with model_server((429, b"slow down"), (503, b""), "4") as server:
        assert asyncio.run(OpenAIClient(server.base_url, None, "m").complete("")) == "4"
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ((401, b"wrong key"), "answered 401: 'wrong key'"),
        ((200, b"<html>"), "not JSON"),
        ((200, b"[]"), "cannot be read"),
        ((200, b'{"choices": []}'), "cannot be read"),
    ],
)
def test_a_failure_is_reported_with_its_reason(answer: tuple[int, bytes], shown: str) -> None:
    with model_server(answer) as server, pytest.raises(LanguageModelError, match=shown) as failed:
        asyncio.run(OpenAIClient(server.base_url, None, "m").complete(""))
    assert failed.value.endpoint == server.base_url
    assert len(server.asked) == 1


def test_a_server_that_is_not_there_is_reported() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(LanguageModelError, match="refused"):
        asyncio.run(OpenAIClient("http://127.0.0.1", port, "m").complete(""))


def test_hosted_models_have_their_clients() -> None:
    client = create_llm_client("Anthropic", "claude", "k")
    assert isinstance(client, AnthropicClient)
    assert client.base_url == "https://api.anthropic.com:443"
    assert isinstance(create_llm_client("openai", "o3-mini", "k"), OpenAIClient)
    with pytest.raises(ValueError, match="anthropic, openai"):
        create_llm_client("other", "m", "k")


def test_a_client_of_another_protocol_need_not_call_tools() -> None:
    class Plain(LLMClient):
        async def complete(self, prompt: str, **kwargs: Any) -> str:
            return prompt

    with pytest.raises(NotImplementedError, match="Plain"):
        asyncio.run(Plain("http://host", 1).complete_with_tools([], []))
