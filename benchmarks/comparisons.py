"""The comparisons and their targets."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from openenv_server.playground.mount import has_gradio

from benchmarks import contenders as c
from openenv_gym import RemoteVectorEnv

FRAMES = "benchmarks.environments:Frames-v0"
PONG = "ale_py:ALE/Pong-v5"
NAP_50_MS = "benchmarks.environments:Nap50ms-v0"
NAP_1_S = "benchmarks.environments:Nap1s-v0"


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        work: The work.
        ours: Our contender.
        ours_ms: Its milliseconds per step, the median over the rounds.
        against: The other contender.
        against_ms: Its milliseconds per step, the median over the rounds.
        ratio: The median over the rounds.
        ratios: The least and the greatest of the rounds.
        target: The ratio to reach.
        at_most: Whether the ratio must be at most the target, instead of at least.
    """

    work: str
    ours: str
    ours_ms: float
    against: str
    against_ms: float
    ratio: float
    ratios: tuple[float, float]
    target: float
    at_most: bool = False

    def meets_target(self, leeway: float = 1.0) -> bool:
        """Whether the ratio meets the target, or misses it by at most a factor of ``leeway``."""
        if self.at_most:
            return self.ratio <= self.target * leeway
        return self.ratio >= self.target / leeway


def compare(
    work: str,
    ours: tuple[str, c.Contender, int],
    others: Mapping[str, tuple[c.Contender, int, float]],
    rounds: int,
) -> Iterator[Line]:
    """Let contenders take turns; the ratio is how many times faster ours is.

    Args:
        work: The work.
        ours: Our contender's name, the contender, and its steps per round.
        others: The other contenders, their steps per round, and the least ratio.
        rounds: The turns of each.
    """
    name, contender, steps = ours
    ours_s: list[float] = []
    theirs_s: dict[str, list[float]] = {other: [] for other in others}
    for _ in range(rounds):
        ours_s.append(_turn(contender, steps))
        for other, (rival, rival_steps, _) in others.items():
            theirs_s[other].append(_turn(rival, rival_steps))
    for other, (_, _, least) in others.items():
        ratios = [theirs / our for theirs, our in zip(theirs_s[other], ours_s, strict=True)]
        ratio = statistics.median(ratios)
        yield Line(
            work,
            name,
            statistics.median(ours_s) * 1e3,
            other,
            statistics.median(theirs_s[other]) * 1e3,
            ratio,
            (min(ratios), max(ratios)),
            least,
        )


def _turn(contender: c.Contender, steps: int) -> float:
    """Return the seconds per step, after a few to warm up the caches."""
    contender.run(max(1, steps // 4))
    return contender.run(steps) / steps


def single(rounds: int) -> Iterator[Line]:
    """CartPole-v1, one session, against the published package and against a bare echo."""
    work = "CartPole-v1, 1 session"
    with ExitStack() as stack:
        ours = stack.enter_context(c.remote_single(stack.enter_context(c.serving("CartPole-v1"))))
        theirs = stack.enter_context(c.peer_client(stack.enter_context(c.peer_server("cartpole")), 1))
        echo = stack.enter_context(c.echo_server(RESPONSE_BYTES))
        yield from compare(
            work, ("RemoteEnv.step", ours, 500), {"published client": (theirs, 200, 4)}, rounds
        )
        medians: list[tuple[float, float]] = []
        for _ in range(rounds):
            ours.round_trips_s.clear()
            echo.round_trips_s.clear()
            ours.run(1000)
            echo.run(1000)
            medians.append((statistics.median(ours.round_trips_s), statistics.median(echo.round_trips_s)))
        yield at_most(work, "RemoteEnv.step, p50", "a bare echo, p50", medians, 0.45)


def remote_gym(rounds: int) -> Iterator[Line]:
    """CartPole-v1, one session, against the package remote-gym, which uses gRPC."""
    with ExitStack() as stack:
        ours = stack.enter_context(c.remote_single(stack.enter_context(c.serving("CartPole-v1"))))
        theirs = stack.enter_context(c.remote_gym_client())
        yield from compare(
            "CartPole-v1, 1 session",
            ("RemoteEnv.step", ours, 500),
            {"remote-gym": (theirs, 200, 4)},
            rounds,
        )


# The size of the response to one step of CartPole in version 2 of the protocol.
RESPONSE_BYTES = 210


def at_most(work: str, ours: str, against: str, pairs: list[tuple[float, float]], most: float) -> Line:
    """Make a line whose ratio is how much longer ours takes."""
    ratios = [our / other for our, other in pairs]
    ratio = statistics.median(ratios)
    return Line(
        work,
        ours,
        statistics.median(our for our, _ in pairs) * 1e3,
        against,
        statistics.median(other for _, other in pairs) * 1e3,
        ratio,
        (min(ratios), max(ratios)),
        most,
        at_most=True,
    )


def many(rounds: int) -> Iterator[Line]:
    """CartPole-v1, 64 sessions, against the local vector environments and the published package."""
    with ExitStack() as stack:
        ours = stack.enter_context(c.remote_vector(stack.enter_context(c.serving("CartPole-v1")), 64))
        theirs = stack.enter_context(c.peer_client(stack.enter_context(c.peer_server("cartpole")), 64))
        in_processes = stack.enter_context(c.local_vector("CartPole-v1", 64, "async"))
        in_a_row = stack.enter_context(c.local_vector("CartPole-v1", 64, "sync"))
        yield from compare(
            "CartPole-v1, 64 sessions",
            ("RemoteVectorEnv.step", ours, 200),
            {
                "published client, gather": (theirs, 10, 20),
                "local AsyncVectorEnv": (in_processes, 50, 8),
                "local SyncVectorEnv": (in_a_row, 200, 0.9),
            },
            rounds,
        )


def batched(rounds: int) -> Iterator[Line]:
    """CartPole-v1, stepped in one call on the server, against the local vector environments."""
    with ExitStack() as stack:
        base_url = stack.enter_context(c.serving("CartPole-v1", max_sessions=8192, vectorized=True))
        for count, steps, in_a_row_steps in ((64, 500, 200), (4096, 100, 3)):
            ours = stack.enter_context(c.remote_vector(base_url, count))
            at_once = stack.enter_context(c.local_vector("CartPole-v1", count, "vector_entry_point"))
            in_a_row = stack.enter_context(c.local_vector("CartPole-v1", count, "sync"))
            yield from compare(
                f"CartPole-v1, {count:,} in one call",
                ("RemoteVectorEnv.step", ours, steps),
                {
                    "local SyncVectorEnv": (in_a_row, in_a_row_steps, 3),
                    "local vector entry point": (at_once, steps, 0.4 if count == 64 else 0.5),
                },
                rounds,
            )


def envpool(rounds: int) -> Iterator[Line]:
    """Atari of EnvPool, 64 times, against itself without a network."""
    with ExitStack() as stack:
        ours = stack.enter_context(
            c.remote_vector(stack.enter_context(c.envpool_server("Pong-v5", 64)), 64, copy=False)
        )
        local = stack.enter_context(c.envpool_local("Pong-v5", 64))
        yield from compare(
            "EnvPool's Pong-v5, 64 in one call",
            ("RemoteVectorEnv.step", ours, 100),
            {"local EnvPool, sync": (local, 100, 0.95)},
            rounds,
        )


def ppo(rounds: int) -> Iterator[Line]:
    """Training with PPO on 64 CartPoles, against the same loop on a local vector environment."""
    with ExitStack() as stack:
        one_by_one = stack.enter_context(c.serving("CartPole-v1"))
        at_once = stack.enter_context(c.serving("CartPole-v1", vectorized=True))
        local = stack.enter_context(c.ppo("sync", ""))
        for name, kind, base_url in (
            ("two halves in turn", "halves", one_by_one),
            ("one by one", "remote", one_by_one),
            ("64 in one call", "remote", at_once),
        ):
            ours = stack.enter_context(c.ppo(kind, base_url))
            yield from compare(
                "PPO, 64 CartPoles, an update",
                (f"RemoteVectorEnv, {name}", ours, 1),
                {"local SyncVectorEnv": (local, 1, 1.1)},
                rounds,
            )


def sb3(rounds: int) -> Iterator[Line]:
    """CartPole-v1, 16 times, as one vector environment of Stable-Baselines3."""
    with ExitStack() as stack:
        base_url = stack.enter_context(c.serving("CartPole-v1"))
        ours, dummy, processes = (
            stack.enter_context(c.sb3_vec_env(kind, 16, base_url)) for kind in ("remote", "dummy", "subproc")
        )
        yield from compare(
            "CartPole-v1, 16 in Stable-Baselines3",
            ("RemoteVecEnv.step", ours, 500),
            {"local SubprocVecEnv": (processes, 200, 3), "DummyVecEnv, remote": (dummy, 100, 5)},
            rounds,
        )


def frames(rounds: int) -> Iterator[Line]:
    """Frames of 210x160x3 bytes, 16 sessions."""
    with ExitStack() as stack:
        ours = stack.enter_context(c.remote_vector(stack.enter_context(c.serving(FRAMES)), 16, copy=False))
        theirs = stack.enter_context(c.peer_client(stack.enter_context(c.peer_server("frames")), 16))
        local = stack.enter_context(
            c.local_vector(FRAMES, 16, "async", vector_kwargs={"shared_memory": True, "copy": False})
        )
        yield from compare(
            "210x160x3 uint8, 16 sessions",
            ("RemoteVectorEnv.step", ours, 200),
            {
                "local AsyncVectorEnv, shared memory": (local, 200, 4),
                "published client, gather": (theirs, 2, 1000),
            },
            rounds,
        )


def async_clients(rounds: int) -> Iterator[Line]:
    """CartPole-v1, many clients in one event loop on our server, against the published clients."""
    for sessions, steps, least in ((400, 40, 4), (1000, 20, 1.5)):
        with ExitStack() as stack:
            base_url = stack.enter_context(c.serving("CartPole-v1", max_sessions=2 * sessions))
            ours, theirs = (
                stack.enter_context(c.async_clients(kind, base_url, sessions))
                for kind in ("ours", "published")
            )
            yield from compare(
                f"CartPole-v1, {sessions:,} async clients in one loop",
                ("a step of each", ours, steps),
                {"published clients, our server": (theirs, steps // 2, least)},
                rounds,
            )


def slow_link(rounds: int) -> Iterator[Line]:
    """Frames of Pong over 100 Mbit/s, against the same without compression."""
    with ExitStack() as stack:
        base_url = stack.enter_context(c.serving(PONG))
        for sessions, steps in ((16, 4), (64, 2)):
            ours, plain = (
                stack.enter_context(
                    c.remote_vector(
                        stack.enter_context(c.slow_link(base_url, 100e6)), sessions, steps=kind, copy=False
                    )
                )
                for kind in (c.VectorSteps, c.UncompressedSteps)
            )
            yield from compare(
                f"ALE/Pong-v5, {sessions} sessions over 100 Mbit/s",
                ("RemoteVectorEnv.step", ours, 10 * steps),
                {"uncompressed": (plain, steps, 3)},
                rounds,
            )


def published_server(rounds: int) -> Iterator[Line]:
    """64 sessions on an unmodified server of the published package."""
    with ExitStack() as stack:
        base_url = stack.enter_context(c.peer_server("cartpole"))
        theirs = stack.enter_context(c.peer_client(base_url, 64))
        ours = stack.enter_context(c.remote_vector(stack.enter_context(c.peer_server("cartpole")), 64))
        yield from compare(
            "CartPole-v1, 64 sessions on a published server",
            ("RemoteVectorEnv.step", ours, 20),
            {"published client, gather": (theirs, 20, 1)},
            rounds,
        )


def published_environment(rounds: int) -> Iterator[Line]:
    """An unmodified environment of the published package, on our server and on its own."""
    for sessions, least in ((1, 1), (32, 2)):
        work = f"a published environment, {sessions} session{'s' * (sessions > 1)}"
        with ExitStack() as stack:
            ours, theirs = (stack.enter_context(c.both_server(kind)) for kind in ("ours", "published"))
            client: c.Contender
            if sessions == 1:
                client = stack.enter_context(c.remote_single(ours))
            else:
                client = stack.enter_context(c.remote_vector(ours, sessions))
            peer = stack.enter_context(c.peer_client(theirs, sessions))
            peer_on_ours = stack.enter_context(c.peer_client(ours, sessions))
            yield from compare(
                work,
                ("our client and server", client, 200),
                {
                    "published client and server": (peer, 50, least),
                    "published client, our server": (peer_on_ours, 50, 0.8),
                },
                rounds,
            )


def naps(rounds: int) -> Iterator[Line]:
    """64 environments that sleep 50 ms in each step."""
    with ExitStack() as stack:
        ours = stack.enter_context(c.remote_vector(stack.enter_context(c.serving(NAP_50_MS)), 64))
        sleep = c.Sleeps(0.05)
        pairs = [(ours.run(10) / 10, sleep.run(10) / 10) for _ in range(rounds)]
        yield at_most("64 environments that sleep 50 ms", "a vector step", "one sleep", pairs, 1.3)


def crowd(rounds: int) -> Iterator[Line]:
    """2,048 environments that sleep a second in each step, on two processes."""
    count, workers = 2048, 2
    with c.serving(NAP_1_S, max_sessions=count, workers=workers) as base_url:
        envs = RemoteVectorEnv(base_url, count)
        try:
            envs.reset(seed=0)
            actions = np.zeros(count, np.int64)
            seconds: list[float] = []
            for _ in range(rounds):
                begin = time.perf_counter()
                envs.send(actions)
                missing = count
                while missing:
                    ready = envs.recv(min_ready=1)
                    took = time.perf_counter() - begin
                    seconds.extend([took] * len(ready.slots))
                    assert (ready.rewards == 1.0).all()
                    missing -= len(ready.slots)
        finally:
            envs.close()
    p99 = float(np.percentile(seconds, 99))
    yield Line(
        f"{count} sessions that sleep 1 s, {workers} processes: {len(seconds)} of {rounds * count} done",
        "a step, p99",
        p99 * 1e3,
        "one sleep",
        1000.0,
        p99,
        (min(seconds), max(seconds)),
        1.5,
        at_most=True,
    )


def playground(rounds: int) -> Iterator[Line]:
    """CartPole-v1 beside ten tabs of the playground that autoplay, 5 steps a second each."""
    if not has_gradio():
        print("playground is left out: it needs Gradio, `uv sync --group browser`", file=sys.stderr)
        return
    with ExitStack() as stack:
        base_url = stack.enter_context(c.serving("CartPole-v1"))
        tabs = stack.enter_context(c.playground_tabs(base_url, 10, 5))
        single: c.Contender = stack.enter_context(c.remote_single(base_url))
        many: c.Contender = stack.enter_context(c.remote_vector(base_url, 64))
        ppo: c.Contender = stack.enter_context(c.ppo("remote", base_url))
        for work, contender, steps in (
            ("1 session", single, 20_000),
            ("64 sessions", many, 4_000),
            ("PPO on 64 sessions", ppo, 4),
        ):
            yield from compare(
                f"CartPole-v1, {work}, ten tabs that autoplay",
                ("beside the tabs", c.BesideTabs(contender, tabs), steps),
                {"without them": (contender, steps, 0.95)},
                rounds,
            )


COMPARISONS: dict[str, Callable[[int], Iterator[Line]]] = {
    "single": single,
    "remote-gym": remote_gym,
    "many": many,
    "batched": batched,
    "envpool": envpool,
    "sb3": sb3,
    "ppo": ppo,
    "frames": frames,
    "async": async_clients,
    "slow-link": slow_link,
    "published-server": published_server,
    "published-environment": published_environment,
    "naps": naps,
    "crowd": crowd,
    "playground": playground,
}
