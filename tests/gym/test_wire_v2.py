"""Version 2's messages: the published test vectors, and what is no message.

For a new vector, add its name and message with an empty frame, set ``OPENENV_UPDATE_DOCS=1``, and read the
diff.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openenv_gym.wire import v2
from openenv_gym.wire.v2 import Attachments

VECTORS = Path(__file__).parents[2] / "docs" / "protocol-v2-vectors.json"
KINDS = {kind.__struct_config__.tag: kind for kind in (*v2.Request.__args__, *v2.Answer.__args__)}


def described(value: Any) -> Any:
    """A message's part as JSON, arrays described."""
    if isinstance(value, np.ndarray | np.generic):
        return {"array": value.dtype.name, "shape": list(value.shape), "items": np.ravel(value).tolist()}
    if isinstance(value, dict):
        return {name: described(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [described(part) for part in value]
    return value


def built(value: Any, attachments: Attachments, *, attach: bool) -> Any:
    """The part that a description stands for; the arrays marked so are attached."""
    if isinstance(value, dict) and "array" in value:
        array = np.array(value["items"], value["array"]).reshape(value["shape"])
        return attachments.attach(list(array)) if attach else array if array.shape else array[()]
    if isinstance(value, dict):
        return {name: built(part, attachments, attach=attach) for name, part in value.items()}
    if isinstance(value, list):
        return [built(part, attachments, attach=attach) for part in value]
    return value


def as_json(message: Any) -> dict[str, Any]:
    fields = {name: getattr(message, name) for name in message.__struct_fields__}
    if isinstance(fields.get("final"), v2.Final):
        fields["final"] = {name: getattr(message.final, name) for name in v2.Final.__struct_fields__}
    return {"type": message.__struct_config__.tag, **described(fields)}


def frame_of(vector: dict[str, Any]) -> bytes:
    """The frame of a vector's message."""
    attachments = Attachments()
    fields = built(
        {name: part for name, part in vector["message"].items() if name != "type"},
        attachments,
        attach=vector.get("attached", False),
    )
    if isinstance(fields.get("final"), dict):
        fields["final"] = v2.Final(**fields["final"])
    if "errors" in fields:
        fields["errors"] = [v2.SlotError(*error) for error in fields["errors"]]
    return b"".join(v2.encode(KINDS[vector["message"]["type"]](**fields), attachments))


def vectors() -> list[dict[str, Any]]:
    """The vectors, whose frames are made again first if the variable says so."""
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())
    if os.environ.get("OPENENV_UPDATE_DOCS"):
        for vector in found:
            if not vector.get("compressed"):
                vector["frame"] = frame_of(vector).hex()
        VECTORS.write_text("[\n" + ",\n".join(f" {json.dumps(vector)}" for vector in found) + "\n]\n")
    return found


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["frame"])
    is_request = KINDS[vector["message"]["type"]] in v2.Request.__args__
    message = v2.decode_request(payload) if is_request else v2.decode_answer(payload, 1 << 20)
    decoded = as_json(message)
    assert {name: decoded[name] for name in vector["message"]} == vector["message"]
    if not vector.get("compressed"):  # compressors differ
        assert frame_of(vector) == payload


def test_the_vectors_have_each_field_of_each_message() -> None:
    covered: dict[str, set[str]] = {}
    for vector in vectors():
        covered.setdefault(vector["message"]["type"], set()).update(vector["message"])
    for tag, kind in KINDS.items():
        assert covered.get(tag, set()) >= set(kind.__struct_fields__), f"{tag} in {VECTORS.name}"


@pytest.mark.parametrize(
    ("payload", "reason", "is_unknown_type"),
    [
        (b"", "requires a buffer", False),
        (b"\x05\x00\x00\x00\x80", "Object missing required field `type`", True),
        (msgspec.msgpack.encode({"type": "dance"}), "'dance'", True),
        (msgspec.msgpack.encode({"type": "close", "id": "x", "slots": []}), "Expected `int`", False),
        (msgspec.msgpack.encode({"type": "close", "id": 1, "slots": [], "timeout_s": 0}), "> 0", False),
        (msgspec.msgpack.encode({"type": "close", "id": 1, "slots": [1.5]}), "Expected `int`", False),
        (msgspec.msgpack.encode({"type": "step", "id": 1, "slots": []}), "`actions`", False),
        (b"\xc1", "truncated|Invalid|malformed|MessagePack", False),
    ],
)
def test_what_is_no_message_is_refused(payload: bytes, reason: str, is_unknown_type: bool) -> None:
    framed = (
        payload if payload[1:4] == bytes(3) or not payload else len(payload).to_bytes(4, "little") + payload
    )
    with pytest.raises(v2.BadMessageError, match=reason) as refused:
        v2.decode_request(framed)
    assert refused.value.is_unknown_type is is_unknown_type


@given(st.binary(max_size=60))
@settings(max_examples=2 * settings().max_examples)
def test_no_bytes_do_anything_but_be_refused(payload: bytes) -> None:
    for framed in (payload, len(payload).to_bytes(4, "little") + payload):
        for decode in (v2.decode_request, v2.decode_answer):
            try:
                decode(framed)
            except v2.BadMessageError:
                continue


@given(st.binary(max_size=40), st.sampled_from([1, 2, 3]))
@settings(max_examples=2 * settings().max_examples)
def test_no_extension_does_anything_but_be_refused(data: bytes, code: int) -> None:
    message = {"type": "step", "id": 1, "slots": [0], "actions": msgspec.msgpack.Ext(code, data)}
    body = msgspec.msgpack.encode(message)
    try:
        v2.decode_request(len(body).to_bytes(4, "little") + body + bytes(16))
    except v2.BadMessageError:
        return


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3, 4)], ids=str)
def test_arrays_come_back_equal_and_writable(dtype: str, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    payload = b"".join(v2.encode(v2.Step(id=1, slots=[], actions=array)))
    request = v2.decode_request(payload)
    assert isinstance(request, v2.Step)
    assert request.actions.dtype == array.dtype
    assert np.array_equal(request.actions, array)
    assert not shape or request.actions.flags.writeable


@pytest.mark.parametrize(
    ("message", "is_unknown_type"),
    [
        ({"type": "dance", "id": 1, "slots": []}, True),
        ({"type": 7, "id": 1, "slots": []}, True),
        ({"id": 1, "slots": []}, True),
        ({"type": "result", "id": 1, "slots": []}, True),  # the server's
        ({"type": "step", "id": "one", "slots": []}, False),
        ({"type": "step", "id": 1, "slots": [], "actions": [], "min_ready": "field `type`"}, False),
        (["step"], False),
        ("step", False),
    ],
    ids=str,
)
def test_an_unknown_type_is_told_from_a_bad_message(message: object, is_unknown_type: bool) -> None:
    body = msgspec.msgpack.encode(message)
    with pytest.raises(v2.BadMessageError) as caught:
        v2.decode_request(len(body).to_bytes(4, "little") + body)
    assert caught.value.is_unknown_type is is_unknown_type


def test_attached_arrays_stand_where_they_say() -> None:
    rows = [np.full((2, 3), fill, np.float32) for fill in (1.5, math.inf)]
    more = [np.arange(5, dtype=np.int16)]
    attachments = Attachments()
    column = {"a": attachments.attach(rows), "b": attachments.attach(more)}
    parts = v2.encode(v2.Step(id=1, slots=[0, 1], actions=column), attachments)
    assert len(parts) == 4, "the rows are sent from where they are"
    request = v2.decode_request(b"".join(parts))
    assert isinstance(request, v2.Step)
    assert np.array_equal(request.actions["a"], np.stack(rows))
    assert np.array_equal(request.actions["b"], np.stack(more))
    with pytest.raises(v2.BadMessageError, match="missing bytes"):
        v2.decode_request(b"".join(parts)[:-1])


def test_what_cannot_be_sent_is_said() -> None:
    with pytest.raises(TypeError, match="object cannot be sent"):
        v2.encode(v2.Step(id=1, slots=[], actions=[object()]))
    with pytest.raises(TypeError, match="Cannot send an array of complex128"):
        v2.pack(np.zeros(2, complex))
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        v2.encode(v2.Step(id=1, slots=[], actions=["\ud800"]))


INTEGERS = [2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**70, -(2**63), -(2**63) - 1, -(2**64), -(2**200), 255 << 64]


@pytest.mark.parametrize("number", INTEGERS)
def test_integers_of_any_size_come_back(number: int) -> None:
    error = v2.SlotError(1, "CODE", "message", {"n": [number]})
    final = v2.Final(places=[0], observations=[{"n": number}], infos=[{"n": number}])
    result = v2.Result(
        id=1,
        slots=[0],
        observations=[{"n": (number, np.arange(3))}],
        rewards=[number],
        infos=[(0, {"n": number})],
        final=final,
        errors=[error],
    )
    answer = v2.decode_answer(b"".join(v2.encode(result)))
    assert isinstance(answer, v2.Result)
    first, array = answer.observations[0]["n"]
    assert first == answer.rewards[0] == answer.infos[0][1]["n"] == number
    assert array.tolist() == [0, 1, 2]
    assert (answer.final, answer.errors) == (final, [error])
    reset = v2.decode_request(
        b"".join(v2.encode(v2.Reset(id=1, slots=[0], seeds=[number], options={"n": number})))
    )
    assert isinstance(reset, v2.Reset)
    assert (reset.seeds, reset.options) == ([number], {"n": number})
    failed = v2.Failed(code="CODE", message="message", details={"n": number})
    assert v2.decode_answer(b"".join(v2.encode(failed))) == failed
