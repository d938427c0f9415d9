"""Uses the client of the installed `openenv` in every way that published code does; prints the results.

The arguments are the base URLs of `client_servers`. It is run with the published package, and with ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from openenv import AutoEnv
from openenv.core import EnvClient, GenericAction, GenericEnvClient, SyncEnvClient
from openenv.core.client_types import StepResult
from openenv.core.env_server.mcp_types import CallToolAction, ListToolsAction
from openenv.core.env_server.types import Action, Observation, State
from openenv.core.mcp_client import MCPToolClient

COUNTER, SHELF, SINGLE = sys.argv[1:4] if __name__ == "__main__" else ("", "", "")
NOBODY = "http://127.0.0.1:9"

WAYS: dict[str, Callable[[], Any]] = {}


def way(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Add a function to the ways. Its name is a row in docs/published-clients.md."""

    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        assert name not in WAYS, name
        WAYS[name] = function
        return function

    return add


class Add(Action):
    amount: int
    sleep_s: float = 0.0


class Total(Observation):
    total: int
    history: list[float]


class CounterEnv(EnvClient[Add, Total, State]):
    """Written the way the published template does."""

    def _step_payload(self, action: Add) -> dict[str, Any]:
        return {"amount": action.amount, "sleep_s": action.sleep_s}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[Total]:
        fields = payload.get("observation", {})
        observation = Total(
            total=fields.get("total", 0),
            history=fields.get("history", []),
            done=payload.get("done", False),
            reward=payload.get("reward"),
            metadata=fields.get("metadata", {}),
        )
        return StepResult(
            observation=observation, reward=payload.get("reward"), done=payload.get("done", False)
        )

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(episode_id=payload.get("episode_id"), step_count=payload.get("step_count", 0))

    async def add(self, amount: int) -> StepResult[Total]:
        return await self.step(Add(amount=amount))

    async def add_twice(self, amount: int) -> int:
        await self.add(amount)
        await asyncio.sleep(0.001)
        return (await self.add(amount)).observation.total


class Runtime:
    """A provider with ``start``, whose server runs already."""

    def __init__(self, base_url: str = COUNTER) -> None:
        self.base_url, self.calls = base_url, []

    def start(self, **options: Any) -> str:
        self.calls.append(["start", options])
        return self.base_url

    def wait_for_ready(self, timeout_s: float = 30.0) -> None:
        self.calls.append("wait_for_ready")

    def stop(self) -> None:
        self.calls.append("stop")


class Container:
    """A provider with ``start_container``."""

    def __init__(self, base_url: str = COUNTER) -> None:
        self.base_url, self.calls = base_url, []

    def start_container(self, image: str, port: Any = None, env_vars: Any = None, **options: Any) -> str:
        self.calls.append(["start_container", image, port, env_vars, options])
        return self.base_url

    def wait_for_ready(self, base_url: str, timeout_s: float = 30.0) -> None:
        self.calls.append(["wait_for_ready", base_url == self.base_url])

    def stop_container(self) -> None:
        self.calls.append("stop_container")


def facts(result: Any) -> Any:
    observation = result.observation
    fields = observation if isinstance(observation, dict) else observation.model_dump()
    # Our Observation has one more field, `truncated`.
    return [
        {name: fields[name] for name in sorted(fields) if name != "truncated"},
        result.reward,
        result.done,
    ]


def caught(kind: type[BaseException], call: Callable[[], Any]) -> str:
    """Whether code that expects this error gets it."""
    try:
        call()
    except kind:
        return f"except {kind.__name__}"
    except Exception as error:
        return f"{type(error).__name__} is not a {kind.__name__}"
    return "no error"


async def caught_awaiting(kind: type[BaseException], call: Callable[[], Any]) -> str:
    try:
        await call()
    except kind:
        return f"except {kind.__name__}"
    except Exception as error:
        return f"{type(error).__name__} is not a {kind.__name__}"
    return "no error"


def played(client: Any) -> Any:
    return [facts(client.reset(start=3)), facts(client.step(Add(amount=4))), client.state().step_count]


async def played_awaiting(client: Any) -> Any:
    first = facts(await client.reset(start=3))
    second = facts(await client.step(Add(amount=4)))
    return [first, second, (await client.state()).step_count]


# --- awaited ----------------------------------------------------------------------------------------------


@way("`async with Client(url) as env: await env.reset()`")
def _() -> Any:
    async def main() -> Any:
        async with CounterEnv(base_url=COUNTER) as env:
            return await played_awaiting(env)

    return asyncio.run(main())


@way("`await client.connect()`, `await client.reset()`, `await client.close()` without `async with`")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        same = await client.connect() is client
        seen = await played_awaiting(client)
        return [same, seen, await client.close()]

    return asyncio.run(main())


@way("`await client.reset()` as the first call, without `connect`")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        seen = await played_awaiting(client)
        await client.close()
        return seen

    return asyncio.run(main())


@way("`await asyncio.gather(*(client.reset() for client in clients))`")
def _() -> Any:
    async def main() -> Any:
        clients = [CounterEnv(base_url=COUNTER) for _ in range(5)]
        await asyncio.gather(*(client.reset(start=i) for i, client in enumerate(clients)))
        begin = time.perf_counter()
        results = await asyncio.gather(*(client.step(Add(amount=1, sleep_s=0.3)) for client in clients))
        is_parallel = time.perf_counter() - begin < 1.2
        await asyncio.gather(*(client.close() for client in clients))
        return [is_parallel, [result.observation.total for result in results]]

    return asyncio.run(main())


@way("`asyncio.create_task(client.step(…))`, and `asyncio.wait_for`")
def _() -> Any:
    async def main() -> Any:
        async with CounterEnv(base_url=COUNTER) as env:
            await asyncio.create_task(env.reset(start=1))
            return facts(await asyncio.wait_for(env.step(Add(amount=2)), timeout=20))

    return asyncio.run(main())


@way("`await client.new_session()`: more sessions on the server, closed with the client")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        await client.reset(start=10)
        other = await client.new_session()
        await other.reset(start=20)
        totals = [(await each.step(Add(amount=1))).observation.total for each in (client, other)]
        kinds = [type(other) is CounterEnv, other is client]
        await client.close()
        return [totals, kinds]

    return asyncio.run(main())


@way("`await client.disconnect()`, then `await client.reset()`")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        await client.reset(start=1)
        await client.disconnect()
        seen = await played_awaiting(client)
        await client.close()
        return seen

    return asyncio.run(main())


@way("`await client.close()`, then `await client.reset()`; `close` twice")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        await client.reset(start=1)
        await client.close()
        seen = await played_awaiting(client)
        await client.close()
        await client.close()
        return seen

    return asyncio.run(main())


@way("the client again after its `async with`")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        async with client:
            await client.reset(start=1)
        seen = await played_awaiting(client)
        await client.close()
        async with client as env:
            return [seen, await played_awaiting(env)]

    return asyncio.run(main())


@way("one client in two calls of `asyncio.run`")
def _() -> Any:
    client = CounterEnv(base_url=COUNTER)

    async def main() -> Any:
        return await played_awaiting(client)

    seen = [asyncio.run(main()), asyncio.run(main())]
    asyncio.run(_closed(client))
    return seen


async def _closed(client: Any) -> None:
    await client.close()


@way("`step` after `disconnect`, without a reset: it is sent in a new session")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        await client.reset(start=1)
        await client.disconnect()
        result = facts(await client.step(Add(amount=2)))
        await client.close()
        return result

    return asyncio.run(main())


@way("`step` after a step that was cancelled, without a reset: in a new session, or `RuntimeError`")
def _() -> Any:
    async def main() -> Any:
        async with CounterEnv(base_url=COUNTER) as env:
            await env.reset(start=1)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(env.step(Add(amount=1, sleep_s=0.6)), 0.1)
            try:
                return (await env.step(Add(amount=1))).observation.total
            except RuntimeError:
                return "except RuntimeError"

    return asyncio.run(main())


@way("a subclass whose `async def reset` awaits `super().reset`")
def _() -> Any:
    class Hard(CounterEnv):
        async def reset(self, **kwargs: Any) -> StepResult[Total]:
            return await super().reset(start=50, **kwargs)

    async def main() -> Any:
        async with Hard(base_url=COUNTER) as env:
            return facts(await env.reset(seed=1))

    return asyncio.run(main())


@way("`await client.step(…)` cancelled by `asyncio.wait_for`, then `await client.reset()`")
def _() -> Any:
    async def main() -> Any:
        async with CounterEnv(base_url=COUNTER) as env:
            await env.reset(start=1)
            late = await caught_awaiting(
                TimeoutError, lambda: asyncio.wait_for(env.step(Add(amount=1, sleep_s=0.6)), 0.1)
            )
            return [late, await played_awaiting(env)]

    return asyncio.run(main())


# --- not awaited ------------------------------------------------------------------------------------------


@way("`with Client(url).sync() as env: env.reset()`")
def _() -> Any:
    with CounterEnv(base_url=COUNTER).sync() as env:
        return played(env)


@way("`env = Client(url).sync()`, `env.connect()`, `env.reset()`, `env.close()`")
def _() -> Any:
    env = CounterEnv(base_url=COUNTER).sync()
    same = env.connect() is env
    seen = played(env)
    return [same, seen, env.close()]


@way("`SyncEnvClient(client)`, `isinstance(client.sync(), SyncEnvClient)`, `.async_client`")
def _() -> Any:
    client = CounterEnv(base_url=COUNTER)
    with SyncEnvClient(client) as env:
        seen = played(env)
    return [
        seen,
        isinstance(client.sync(), SyncEnvClient),
        client.sync().async_client is client,
        env.base_url == COUNTER,
    ]


@way("`with Client(url) as env: env.reset()`")
def _() -> Any:
    with CounterEnv(base_url=COUNTER) as env:
        return played(env)


@way("`client.reset()` without `with` and without an event loop")
def _() -> Any:
    client = CounterEnv(base_url=COUNTER)
    seen = played(client)
    client.close()
    return seen


@way("`client.reset().observation` in a running event loop, as in a notebook")
def _() -> Any:
    async def main() -> Any:
        client = CounterEnv(base_url=COUNTER)
        seen = played(client)
        client.close()
        return seen

    return asyncio.run(main())


@way("`client.sync()` in a running event loop")
def _() -> Any:
    async def main() -> Any:
        with CounterEnv(base_url=COUNTER).sync() as env:
            return played(env)

    return asyncio.run(main())


@way("`client.sync().new_session()`, `.disconnect()`, and use after `.close()`")
def _() -> Any:
    env = CounterEnv(base_url=COUNTER).sync()
    env.connect()
    other = env.new_session()
    seen = [played(other), isinstance(other, SyncEnvClient)]
    env.disconnect()
    seen.append(played(env))
    env.close()
    seen.append(played(env))
    env.close()
    return seen


@way("`async def` methods of a subclass, awaited and with `sync()`")
def _() -> Any:
    async def main() -> Any:
        async with CounterEnv(base_url=COUNTER) as env:
            await env.reset(start=1)
            return await env.add_twice(2)

    with CounterEnv(base_url=COUNTER).sync() as env:
        env.reset(start=1)
        return [asyncio.run(main()), env.add_twice(3), env.add(1).observation.total]


@way("`await client.reset()`, and after that loop `client.reset()`")
def _() -> Any:
    client = CounterEnv(base_url=COUNTER)

    async def main() -> Any:
        return await played_awaiting(client)

    seen = [asyncio.run(main()), played(client)]
    client.close()
    return seen


@way("`await client.step(…)` on a client that was used without `await`: `TypeError`")
def _() -> Any:
    client = CounterEnv(base_url=COUNTER)
    client.reset(start=1)

    async def main() -> Any:
        return await caught_awaiting(TypeError, lambda: client.step(Add(amount=1)))

    seen = asyncio.run(main())
    client.close()
    return seen


@way("`await client.reset()`, and after that loop `client.sync().reset()`")
def _() -> Any:
    client = CounterEnv(base_url=COUNTER)

    async def main() -> Any:
        return await played_awaiting(client)

    asyncio.run(main())
    try:
        return played(client.sync())
    except RuntimeError:
        return "except RuntimeError"


@way("`client.sync()` on a client that is awaited in the same loop: `RuntimeError`")
def _() -> Any:
    async def main() -> Any:
        async with CounterEnv(base_url=COUNTER) as env:
            await env.reset(start=1)
            mixed = caught(RuntimeError, lambda: env.sync().reset())
            return [mixed, (await env.step(Add(amount=1))).observation.total]

    return asyncio.run(main())


# --- requests ---------------------------------------------------------------------------------------------


@way("`client.step(…)` as the first request: it is sent")
def _() -> Any:
    with CounterEnv(base_url=COUNTER).sync() as env:
        return [facts(env.step(Add(amount=5))), env.state().step_count]


@way("`client.state()` as the first request")
def _() -> Any:
    with CounterEnv(base_url=COUNTER).sync() as env:
        return env.state().model_dump()


@way("`client.reset(seed=None, episode_id=None, x=None)`: None is sent")
def _() -> Any:
    with CounterEnv(base_url=COUNTER).sync() as env:
        return facts(env.reset(seed=None, episode_id=None, x=None, self_=1))


@way("`client.reset(**row)`, whose names are also those of parameters")
def _() -> Any:
    row = {"name": "a", "method": "b", "action": [1, {"deep": None}], "operation": 0.5, "seed": 3, "args": []}
    with CounterEnv(base_url=COUNTER).sync() as env:
        return facts(env.reset(**row))


@way("`client.step(action, timeout_s=5)`")
def _() -> Any:
    with CounterEnv(base_url=COUNTER).sync() as env:
        env.reset()
        return facts(env.step(Add(amount=1), timeout_s=5))


@way("`client.step(action, timeout_s=0.2)` with a slower environment")
def _() -> Any:
    with CounterEnv(base_url=COUNTER).sync() as env:
        env.reset()
        return caught(TimeoutError, lambda: env.step(Add(amount=1, sleep_s=0.6), timeout_s=0.2))


@way("`GenericEnvClient`: dicts, `GenericAction`, Pydantic models")
def _() -> Any:
    with GenericEnvClient(base_url=COUNTER).sync() as env:
        actions = [{"amount": 1}, GenericAction(amount=2), Add(amount=3)]
        seen = [facts(env.reset(start=1)), *(facts(env.step(action)) for action in actions)]
        return [seen, env.state()]


@way("an observation of 3 MB")
def _() -> Any:
    with GenericEnvClient(base_url=COUNTER).sync() as env:
        return len(env.reset(padding=3_000_000).observation["padding"])


# --- errors -----------------------------------------------------------------------------------------------


@way("`except RuntimeError` around a step that raises; the session continues")
def _() -> Any:
    with CounterEnv(base_url=COUNTER).sync() as env:
        env.reset(start=1)
        raised = caught(RuntimeError, lambda: env.step(Add(amount=10)))
        return [raised, facts(env.step(Add(amount=1)))]


@way("`except RuntimeError` around a step whose action is refused; the session continues")
def _() -> Any:
    with GenericEnvClient(base_url=COUNTER).sync() as env:
        env.reset(start=1)
        raised = [
            caught(RuntimeError, lambda: env.step({})),
            caught(RuntimeError, lambda: env.step({"amount": "x"})),
        ]
        return [raised, facts(env.step({"amount": 1}))]


@way("`except ConnectionError` around `connect`, `with`, `async with` and a first `reset`")
def _() -> Any:
    def enter() -> None:
        with CounterEnv(base_url=NOBODY):
            pass

    async def main() -> Any:
        async def enter_awaiting() -> None:
            async with CounterEnv(base_url=NOBODY):
                pass

        return [
            await caught_awaiting(ConnectionError, enter_awaiting),
            await caught_awaiting(ConnectionError, lambda: CounterEnv(base_url=NOBODY).connect()),
            await caught_awaiting(ConnectionError, lambda: CounterEnv(base_url=NOBODY).reset()),
        ]

    return [
        caught(ConnectionError, lambda: CounterEnv(base_url=NOBODY).sync().connect()),
        caught(ConnectionError, enter),
        caught(ConnectionError, lambda: CounterEnv(base_url=NOBODY).reset()),
        *asyncio.run(main()),
    ]


@way("`except ConnectionError` around `connect` to a server that is something else")
def _() -> Any:
    client = CounterEnv(base_url=f"{COUNTER}/health")
    return caught(ConnectionError, client.sync().connect)


@way("`except TimeoutError` around a step longer than `message_timeout_s`, then `reset`")
def _() -> Any:
    with CounterEnv(base_url=COUNTER, message_timeout_s=0.3).sync() as env:
        env.reset()
        late = caught(TimeoutError, lambda: env.step(Add(amount=1, sleep_s=0.8)))
        return [late, played(env)]


@way("`except RuntimeError` around the `reset` of a full server; it works once there is room")
def _() -> Any:
    first, second = GenericEnvClient(base_url=SINGLE).sync(), GenericEnvClient(base_url=SINGLE).sync()
    first.reset(start=1)
    full = caught(RuntimeError, lambda: second.reset(start=2))
    second.close()
    first.close()
    for _ in range(100):
        with contextlib.suppress(RuntimeError), second:
            return [full, second.reset(start=2).observation["total"]]
        time.sleep(0.05)
    return [full, "never"]


@way("an answer larger than `max_message_size_mb`")
def _() -> Any:
    with GenericEnvClient(base_url=COUNTER, max_message_size_mb=0.01).sync() as env:
        return caught(Exception, lambda: env.reset(padding=100_000))


# --- the constructor --------------------------------------------------------------------------------------


@way("`Client(url, 5.0, 30.0)`: timeouts by position")
def _() -> Any:
    with CounterEnv(COUNTER, 5.0, 30.0).sync() as env:
        return played(env)


@way("all nine arguments by position, and by keyword")
def _() -> Any:
    by_position = (COUNTER, 5.0, 30.0, 50.0, 10.0, None, None, "simulation", {"X-Test": "1"})
    with CounterEnv(*by_position).sync() as env:
        seen = [played(env)]
    keywords: dict[str, Any] = {
        "base_url": COUNTER,
        "connect_timeout_s": 5,
        "message_timeout_s": 30,
        "max_message_size_mb": 50,
        "websocket_ping_interval_s": None,
        "websocket_ping_timeout_s": 20.0,
        "provider": None,
        "mode": "PRODUCTION",
        "headers": {"X-Test": "1"},
    }
    with CounterEnv(**keywords).sync() as env:
        return [*seen, played(env)]


@way("`ValueError` without `base_url` and `provider`, and for an unknown `mode`")
def _() -> Any:
    found = [
        caught(ValueError, lambda: CounterEnv()),
        caught(ValueError, lambda: CounterEnv(base_url=COUNTER, mode="fast")),
        caught(ValueError, lambda: MCPToolClient(base_url=SHELF, mode="simulation")),
    ]
    os.environ["OPENENV_CLIENT_MODE"] = "slow"
    found.append(caught(ValueError, lambda: CounterEnv(base_url=COUNTER)))
    del os.environ["OPENENV_CLIENT_MODE"]
    return found


@way("`client.base_url` and `client._base_url`; addresses with `ws://` and a slash at the end")
def _() -> Any:
    found = []
    for url in (COUNTER, f"{COUNTER}/", COUNTER.replace("http", "ws")):
        client = CounterEnv(base_url=url)
        found.append([client.base_url == url.rstrip("/"), client._base_url == client.base_url])
        with client.sync() as env:
            found.append(env.reset(start=5).observation.total)
    return found


# --- providers --------------------------------------------------------------------------------------------


@way("`Client(provider=…)` with `start`: starts at `connect`, stops at `close`, and starts again")
def _() -> Any:
    async def main() -> Any:
        provider = Runtime()
        client = CounterEnv(provider=provider)
        before = [client.base_url, list(provider.calls)]
        seen = [await played_awaiting(client), client.base_url == COUNTER]
        await client.close()
        after = [client.base_url, list(provider.calls)]
        await client.connect()
        await client.close()
        return [before, seen, after, provider.calls]

    return asyncio.run(main())


@way("`Client(provider=…).sync()`")
def _() -> Any:
    provider = Runtime()
    with CounterEnv(provider=provider).sync() as env:
        return [played(env), provider.calls]


@way("`Client(base_url=…, provider=…)`: not started, stopped once at `close`")
def _() -> Any:
    provider = Container()
    env = CounterEnv(base_url=COUNTER, provider=provider).sync()
    seen = played(env)
    before = list(provider.calls)
    env.close()
    env.close()
    return [seen, before, provider.calls]


@way("`Client(provider=…)` whose server is not there: `ConnectionError`, and it is stopped")
def _() -> Any:
    provider = Runtime(NOBODY)
    return [caught(ConnectionError, lambda: CounterEnv(provider=provider).sync().connect()), provider.calls]


@way("`Client(provider=…)` that needs an image, or is no provider")
def _() -> Any:
    async def connect(provider: Any) -> Any:
        return await caught_awaiting(Exception, lambda: CounterEnv(provider=provider).connect())

    return [asyncio.run(connect(Container())), caught(Exception, lambda: asyncio.run(_made(object())))]


async def _made(provider: Any) -> None:
    await CounterEnv(provider=provider).connect()


@way("`await Client.from_docker_image(image, provider=…, port=…, env_vars=…)`")
def _() -> Any:
    async def main() -> Any:
        provider = Container()
        client = await CounterEnv.from_docker_image(
            "counter:1", provider=provider, port=8001, env_vars={"A": "b"}, memory_limit="1g"
        )
        seen = [await played_awaiting(client), client.base_url == COUNTER]
        await client.close()
        return [seen, provider.calls]

    return asyncio.run(main())


@way("`Client.from_docker_image(image, provider).sync()`")
def _() -> Any:
    provider = Container()
    env = CounterEnv.from_docker_image("counter:1", provider).sync()
    seen = [played(env), isinstance(env, SyncEnvClient)]
    env.close()
    return [seen, provider.calls]


@way("`asyncio.run(Client.from_docker_image(…))`, then `client.reset()`")
def _() -> Any:
    provider = Container()
    client = asyncio.run(CounterEnv.from_docker_image("counter:1", provider=provider))
    seen = played(client)
    client.close()
    return [seen, provider.calls]


@way("`async with await Client.from_docker_image(…) as env`")
def _() -> Any:
    provider = Container()

    async def main() -> Any:
        async with await CounterEnv.from_docker_image("counter:1", provider=provider) as env:
            return await played_awaiting(env)

    return [asyncio.run(main()), provider.calls]


@way("`Client.from_docker_image(…)` that is never used starts nothing; one that fails is stopped")
def _() -> Any:
    unused, failing = Container(), Container(NOBODY)
    handle = CounterEnv.from_docker_image("counter:1", provider=unused)
    handle.close()
    failed = caught(ConnectionError, lambda: CounterEnv.from_docker_image("a", provider=failing).sync())
    return [unused.calls, failed, failing.calls]


@way("`await Client.from_env('Org/my_env', provider=…, tag=…)`: the Space's image")
def _() -> Any:
    provider = Container()

    async def main() -> Any:
        client = await CounterEnv.from_env("Org/my_env", provider=provider, tag="v2", port=8001)
        seen = await played_awaiting(client)
        await client.close()
        return seen

    return [asyncio.run(main()), provider.calls]


@way("`Client.from_env('org/my_env', use_docker=False, provider=…).sync()`")
def _() -> Any:
    provider = Runtime()
    env = CounterEnv.from_env("org/my_env", use_docker=False, provider=provider, port=8001, workers=2).sync()
    seen = played(env)
    env.close()
    return [seen, provider.calls]


# --- tools ------------------------------------------------------------------------------------------------


@way("`MCPToolClient`: `await env.list_tools()` before any reset, `call_tool`, `get_tool`, `has_tool`")
def _() -> Any:
    async def main() -> Any:
        async with MCPToolClient(base_url=SHELF) as env:
            tools = [tool.name for tool in await env.list_tools()]
            await env.reset()
            found = [await env.call_tool("put", item="egg", count=2), await env.call_tool("look")]
            tool = await env.get_tool("put")
            known = [tool.description, sorted(tool.input_schema["properties"])]
            return [tools, found, known, await env.has_tool("look"), await env.has_tool("eat")]

    return asyncio.run(main())


@way("`MCPToolClient(url).sync()`")
def _() -> Any:
    with MCPToolClient(base_url=SHELF).sync() as env:
        tools = [tool.name for tool in env.list_tools()]
        env.reset()
        return [tools, env.call_tool("put", item="egg"), env.call_tool("look"), env.has_tool("look")]


@way("`with MCPToolClient(url) as env: env.call_tool(…)` without `sync()`")
def _() -> Any:
    with MCPToolClient(base_url=SHELF) as env:
        result = env.call_tool("look")
        if asyncio.iscoroutine(result):
            result.close()
            return "a coroutine"
        return result


@way("`MCPToolClient(…)` with all nine arguments by position, and `new_session`")
def _() -> Any:
    async def main() -> Any:
        env = MCPToolClient(SHELF, 5.0, 30.0, 20.0, 20.0, None, "production", 50.0, {"X-Test": "1"})
        async with env:
            other = await env.new_session()
            await other.reset()
            await other.call_tool("put", item="egg")
            return [await env.call_tool("look"), await other.call_tool("look")]

    return asyncio.run(main())


@way("`await env.call_tool(…)` without a reset and without `async with`")
def _() -> Any:
    async def main() -> Any:
        env = MCPToolClient(SHELF)
        seen = [await env.call_tool("put", item="pea"), len(await env.list_tools(use_cache=False))]
        await env.close()
        return seen

    return asyncio.run(main())


@way("`step(CallToolAction(…))` and `step(ListToolsAction())` without a reset")
def _() -> Any:
    with MCPToolClient(base_url=SHELF).sync() as env:
        listed = env.step(ListToolsAction()).observation
        called = env.step(CallToolAction(tool_name="put", arguments={"item": "egg"}))
        failed = env.step(CallToolAction(tool_name="drop", arguments={"why": "hot"})).observation
        return [
            [type(listed).__name__, [tool.name for tool in listed.tools]],
            [called.observation.tool_name, called.observation.result["data"], called.observation.error],
            [failed.error.error_type.value, "hot" in failed.error.message],
        ]


@way("`step(CallToolAction(…))` of a `GenericEnvClient`")
def _() -> Any:
    with GenericEnvClient(base_url=SHELF).sync() as env:
        env.reset()
        result = env.step(CallToolAction(tool_name="look", arguments={}))
        return [result.observation["tool_name"], result.observation["result"]["data"], result.done]


@way("`except RuntimeError` around `call_tool` of a tool that fails, or is missing")
def _() -> Any:
    with MCPToolClient(base_url=SHELF).sync() as env:
        env.reset()
        found = [
            caught(RuntimeError, lambda: env.call_tool("drop", why="hot")),
            caught(RuntimeError, lambda: env.call_tool("eat")),
            caught(RuntimeError, lambda: env.call_tool("put", count="x")),
        ]
        return [found, env.call_tool("look")]


@way("the number of steps after two `call_tool`")
def _() -> Any:
    with MCPToolClient(base_url=SHELF).sync() as env:
        env.reset()
        env.call_tool("look")
        env.call_tool("look")
        return env.state().step_count


@way("`list_tools` of an environment without tools")
def _() -> Any:
    with MCPToolClient(base_url=COUNTER).sync() as env:
        return len(env.list_tools())


# --- by name ----------------------------------------------------------------------------------------------


@way("`AutoEnv.from_env('org/my-env', base_url=…, skip_install=True)`")
def _() -> Any:
    client = AutoEnv.from_env("org/my-env", base_url=COUNTER, skip_install=True)
    with client.sync() as env:
        return [type(client).__name__, facts(env.reset(start=2)), facts(env.step({"amount": 1}))]


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End the process if a way hangs."""
    timer = threading.Timer(seconds, os._exit, (3,))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


if __name__ == "__main__":
    results = {}
    for name, use in WAYS.items():
        if len(sys.argv) > 4 and sys.argv[4] not in name:
            continue
        print(name, file=sys.stderr)
        begin = time.perf_counter()
        with deadline(60):
            try:
                results[name] = use()
            except Exception as error:
                results[name] = f"raised {type(error).__name__}: {error}"
        print(f"   {time.perf_counter() - begin:.2f} s", file=sys.stderr)
    print(json.dumps(results))
