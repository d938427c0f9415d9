"""What the processes of one address tell each other, so that any of them can report for all.

Each has a mailbox, a pair of connected datagram sockets that the parent keeps open: the others write to one
end, and its event loop reads from the other. So nothing has to run for the others, and one that is silent
is left out after a moment.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

# How long the others may take to answer, in seconds.
ANSWER_S = 0.5
# The most bytes of an answer. The kernel of macOS allows 2 KiB unless it is asked for more.
_MOST_BYTES = 2**18

log = logging.getLogger("openenv_server")


class Mailbox(NamedTuple):
    """Two connected sockets."""

    into: socket.socket
    out: socket.socket

    @classmethod
    def make(cls) -> Mailbox:
        """Make one. Processes that are started with it share it."""
        box = cls(*socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
        for end in box:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST_BYTES)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _MOST_BYTES)
        return box


class Question(NamedTuple):
    """A question that waits for answers."""

    missing: set[int]
    answers: dict[int, Any]
    is_answered: asyncio.Event


class Peers:
    """The processes that serve the same address as this one. Use it on the event loop.

    Attributes:
        handlers: How this process answers each question. The answers are JSON values.
        number: The number of this process; 0 if it is the only one.
    """

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[], Any]] = {}
        self.number: int = 0
        self._mailboxes: Sequence[Mailbox] = ()
        self._questions: dict[str, Question] = {}

    @property
    def count(self) -> int:
        """The number of processes."""
        return max(1, len(self._mailboxes))

    def join(self, number: int, mailboxes: Sequence[Mailbox]) -> None:
        """Begin to answer the others.

        Args:
            number: The number of this process.
            mailboxes: Those of all processes.
        """
        self.number, self._mailboxes = number, mailboxes
        asyncio.get_running_loop().add_reader(mailboxes[number].out, self._read)

    async def ask(self, what: str) -> dict[int, Any]:
        """Ask all processes, this one included; return the answers that come in time, by number."""
        others = [number for number in range(len(self._mailboxes)) if number != self.number]
        answers = {self.number: self.handlers[what](), **await self._ask(what, others)}
        return dict(sorted(answers.items()))

    async def ask_one(self, number: int, what: str) -> Any:
        """Ask one process, which may be this one; return None if its answer does not come in time."""
        if number == self.number:
            return self.handlers[what]()
        return (await self._ask(what, [number])).get(number)

    async def _ask(self, what: str, numbers: Sequence[int]) -> dict[int, Any]:
        """Ask other processes; return the answers that come in time, by number."""
        question = Question(set(), {}, asyncio.Event())
        question_id = secrets.token_hex(8)
        for number in numbers:
            if self._send(number, {"ask": what, "id": question_id, "from": self.number}):
                question.missing.add(number)
        if question.missing:
            self._questions[question_id] = question
            try:
                async with asyncio.timeout(ANSWER_S):
                    await question.is_answered.wait()
            except TimeoutError:
                log.info("processes %s did not answer within %g s", sorted(question.missing), ANSWER_S)
            finally:
                del self._questions[question_id]
        return question.answers

    def _send(self, number: int, message: dict[str, Any]) -> bool:
        """Send to the mailbox of a process; return False if it is full: the process has not read for long."""
        try:
            self._mailboxes[number].into.send(json.dumps(message).encode())
        except OSError as error:
            log.info("process %d cannot be told anything (%s)", number, error)
            return False
        return True

    def _read(self) -> None:
        """Answer what others ask, and take their answers."""
        try:
            message = json.loads(self._mailboxes[self.number].out.recv(_MOST_BYTES))
        except BlockingIOError:
            return
        if "ask" in message:
            answer = {"id": message["id"], "from": self.number, "answer": self.handlers[message["ask"]]()}
            self._send(message["from"], answer)
        elif (question := self._questions.get(message["id"])) is not None:
            question.answers[message["from"]] = message["answer"]
            question.missing.discard(message["from"])
            if not question.missing:
                question.is_answered.set()
