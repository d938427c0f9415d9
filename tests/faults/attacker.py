"""A client that sends what it should not, and checks each answer."""

from __future__ import annotations

import contextlib
import json
import socket
from collections import Counter
from typing import Any

import websocket

from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode
from openenv_gym.wire.framing import Opcode, PeerClosedError
from tests.faults import wild
from tests.faults.wild import Attack

DEADLINE_S = 5.0
SLOTS = [0, 1]
_MOST_MESSAGES = 200  # on one socket
_INTERNAL_ERROR = 1011
_NO_CODE = 1005


class Attacker:
    """Holds a socket as long as the server does, and takes a new one then.

    Attributes:
        sent: How many attacks there were.
        sockets: How many sockets they took.
        outcomes: How often there was which code of an error, type of an answer, or end of a socket.
    """

    version = 1

    def __init__(self, base_url: str) -> None:
        self._endpoint = Endpoint.parse(base_url)
        self._frames: FrameSocket | None = None
        self._left = 0
        self._probes = 0
        self.sent = self.sockets = 0
        self.outcomes: Counter[str] = Counter()

    def attack(self, attack: Attack) -> None:
        """Sends it, and asserts that the server answers, or closes the socket in an orderly way."""
        if self._frames is None or self._left == 0:
            self._connect()
        assert self._frames is not None
        self.sent += 1
        self._left -= 1
        try:
            if attack.message is None:
                self._send(attack.data)
                with contextlib.suppress(OSError):  # the same
                    self._frames.raw.shutdown(socket.SHUT_WR)
                self._read_to_the_end()
            else:
                self._exchange(attack)
        except PeerClosedError as closed:
            self.close()
            self._check_end(closed, attack)
            self.outcomes[f"closed {int(closed.code)}"] += 1
        except ConnectionError:
            # Closed with something unread, which is right only if the server cannot know what it is.
            self.close()
            assert attack.message is None, "the server has reset the connection"
        except BaseException:
            self.close()  # so that the next attack does not read the answer to this one
            raise

    def close(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None

    def _connect(self) -> None:
        self.close()
        handshake = websocket.create_connection(
            self._endpoint.websocket_url,
            timeout=DEADLINE_S,
            sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            header=[f"Sec-WebSocket-Protocol: {v2.SUBPROTOCOL}"] if self.version == 2 else [],
        )
        assert handshake.sock is not None
        self._frames = FrameSocket(handshake.sock, is_client=True, max_size=2**28)
        self._frames.set_timeout(DEADLINE_S)
        self._left = _MOST_MESSAGES
        self.sockets += 1
        self._begin()

    def _send(self, data: bytes) -> None:
        assert self._frames is not None
        with contextlib.suppress(ConnectionError):  # closed by the server; what it said is still to be read
            self._frames.raw.sendall(data)

    def _receive(self) -> Any:
        """The next answer, checked."""
        assert self._frames is not None
        opcode, payload = self._frames.receive()
        assert (opcode is Opcode.BINARY) == (self.version == 2)
        return self._checked(bytes(payload))

    def _read_to_the_end(self) -> None:
        while True:
            self._receive()

    def _check_end(self, closed: PeerClosedError, attack: Attack) -> None:
        """Frames that were cut off may end without a word; whole messages may not."""
        assert closed.code != _INTERNAL_ERROR, closed
        if attack.message is not None:
            assert closed.code != _NO_CODE, "the server has hung up without a word"

    def _check_error(self, code: Any, message: Any) -> None:
        assert code in set(ErrorCode), code
        assert isinstance(message, str)
        assert message
        self.outcomes[code] += 1

    def _begin(self) -> None:
        """Starts an episode."""
        raise NotImplementedError

    def _exchange(self, attack: Attack) -> None:
        """Sends a message, and reads what is owed."""
        raise NotImplementedError

    def _checked(self, payload: bytes) -> Any:
        """An answer, read as the protocol has it."""
        raise NotImplementedError


class JsonAttacker(Attacker):
    """For version 1. Each message has one answer, which a probe behind it makes sure of."""

    version = 1

    def _begin(self) -> None:
        assert self._frames is not None
        self._frames.send(b'{"type":"reset"}', opcode=Opcode.TEXT)
        assert self._receive()["type"] == "observation"

    def _exchange(self, attack: Attack) -> None:
        self._send(attack.data)
        answer = self._receive()
        assert not _is_probe(answer)
        self._probes += 1
        self._send(wild.frame(0x80 | Opcode.TEXT, b'{"type":"probe %d"}' % self._probes))
        answer = self._receive()
        assert _is_probe(answer)
        assert f"'probe {self._probes}'" in answer["data"]["message"]

    def _checked(self, payload: bytes) -> Any:
        answer = json.loads(payload, parse_constant=_no_constant)
        assert answer["type"] in {"observation", "state", "error"}
        assert isinstance(answer["data"], dict)
        if answer["type"] == "error":
            self._check_error(answer["data"]["code"], answer["data"]["message"])
        else:
            self.outcomes[answer["type"]] += 1
        return answer


class LaneAttacker(Attacker):
    """For version 2. A message that can be read has the answers that it asks for, any other one error."""

    version = 2

    def _begin(self) -> None:
        for request in (v2.Open(id=1, slots=SLOTS), v2.Reset(id=2, slots=SLOTS)):
            self._ask(request)
            answer = self._receive()
            assert sorted(answer.slots) == SLOTS, answer

    def _exchange(self, attack: Attack) -> None:
        assert attack.message is not None
        opcode, payload = attack.message
        self._send(attack.data)
        request: v2.Request | None = None
        if opcode is Opcode.BINARY:
            with contextlib.suppress(v2.BadMessageError):
                request = v2.decode_request(payload)
        self._read_all(request)
        self._probes += 1
        probe = v2.GetState(id=-self._probes, slots=[])
        self._ask(probe)
        self._read_all(probe)

    def _ask(self, request: v2.Request) -> None:
        self._send(wild.frame(0x80 | Opcode.BINARY, b"".join(v2.encode(request))))

    def _read_all(self, request: v2.Request | None) -> None:
        missing: set[int] | None = None
        while missing is None or missing:
            answer = self._receive()
            if type(answer) is v2.Failed:
                # How deep a message may be nested depends on how deep its reader stands itself.
                is_too_deep = "recursion depth" in answer.message
                read_id = None if request is None else request.id
                # The id of a message that is none, or of an unknown type, can often be read nevertheless.
                is_readable = request is not None and answer.code != ErrorCode.UNKNOWN_TYPE
                assert not is_readable or answer.id == read_id or (is_too_deep and answer.id is None)
                return
            assert request is not None
            assert answer.id == request.id
            named = [*answer.slots, *(error.slot for error in getattr(answer, "errors", []))]
            if type(answer) is v2.Closed:
                assert set(named) <= set(request.slots)
                return
            missing = set(request.slots) if missing is None else missing
            assert len(set(named)) == len(named)
            assert set(named) <= missing
            missing -= set(named)

    def _checked(self, payload: bytes) -> Any:
        answer = v2.decode_answer(payload)
        if type(answer) is v2.Failed:
            self._check_error(answer.code, answer.message)
        else:
            self.outcomes[type(answer).__name__] += 1
        for error in getattr(answer, "errors", []):
            self._check_error(error.code, error.message)
        return answer


def _is_probe(answer: Any) -> bool:
    return "type 'probe " in str(answer["data"].get("message"))


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")
