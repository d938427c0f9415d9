"""Each of Pydantic's documented types in a served environment, and the table of them in the documentation.

Set ``OPENENV_UPDATE_DOCS=1`` to write docs/pydantic-types.md again, and read the diff.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import ipaddress
import json
import os
import pathlib
import re
import uuid
import zoneinfo
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
import pytest
from openenv_server import Action, Environment, Observation, State, create_app
from openenv_server.schemas import action_schema
from pydantic import BaseModel, Field, create_model
from typing_extensions import TypedDict

from openenv_gym import RemoteEnv
from openenv_gym.errors import ActionRefusedError, ProtocolError
from openenv_gym.spaces import compile_action
from openenv_gym.spaces.casting import cast
from tests.support.models import Access, Aliased, Choice, Data, Envelope, Named
from tests.support.servers import running, without_v2

DOCUMENT = Path(__file__).parents[2] / "docs" / "pydantic-types.md"
STEPS = 10


class Typed(TypedDict):
    count: int


class Tree(BaseModel):
    """Has parts of its own kind."""

    children: list[Tree] = []


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


# Of the module `pydantic`.
PYDANTICS_OWN = (
    "StrictBool",
    "StrictInt",
    "StrictFloat",
    "StrictStr",
    "StrictBytes",
    "PositiveInt",
    "NegativeInt",
    "NonNegativeInt",
    "NonPositiveInt",
    "PositiveFloat",
    "NegativeFloat",
    "NonNegativeFloat",
    "NonPositiveFloat",
    "FiniteFloat",
    "UUID1",
    "UUID3",
    "UUID4",
    "UUID5",
    "UUID6",
    "UUID7",
    "UUID8",
    "NewPath",
    "Base64Bytes",
    "Base64Str",
    "Base64UrlBytes",
    "Base64UrlStr",
    "PastDate",
    "FutureDate",
    "PastDatetime",
    "FutureDatetime",
    "AwareDatetime",
    "NaiveDatetime",
    "ByteSize",
    "JsonValue",
    "SecretStr",
    "SecretBytes",
    "AnyUrl",
    "AnyHttpUrl",
    "HttpUrl",
    "AnyWebsocketUrl",
    "WebsocketUrl",
    "FileUrl",
    "FtpUrl",
    "PostgresDsn",
    "CockroachDsn",
    "AmqpDsn",
    "RedisDsn",
    "MongoDsn",
    "KafkaDsn",
    "NatsDsn",
    "MySQLDsn",
    "MariaDBDsn",
    "ClickHouseDsn",
    "SnowflakeDsn",
    "EmailStr",
    "NameEmail",
    "IPvAnyAddress",
    "IPvAnyInterface",
    "IPvAnyNetwork",
)
# What Pydantic documents under "Standard Library Types", "Pydantic Types", "Network Types" and "Unions". The
# second value is observed where no sample is accepted, because the type says more than its JSON Schema.
NONE_NEEDED: Any = object()
TYPES: dict[str, tuple[Any, Any]] = {
    name: (kind, NONE_NEEDED)
    for name, kind in {
        "bool": bool,
        "int": int,
        "float": float,
        "str": str,
        "bytes": bytes,
        "None": None,
        "complex": complex,
        "Decimal": decimal.Decimal,
        "condecimal(max_digits=5, decimal_places=2)": pydantic.condecimal(max_digits=5, decimal_places=2),
        "Fraction": fractions.Fraction,
        "Enum": Choice,
        "IntEnum, with aliases": Aliased,
        "IntFlag": Access,
        "datetime": datetime.datetime,
        "date": datetime.date,
        "time": datetime.time,
        "timedelta": datetime.timedelta,
        "list[int]": list[int],
        "tuple[int, str]": tuple[int, str],
        "tuple[int, ...]": tuple[int, ...],
        "set[int]": set[int],
        "frozenset[str]": frozenset[str],
        "deque[int]": collections.deque[int],
        "Sequence[int]": Sequence[int],
        "Iterable[int]": Iterable[int],
        "dict[str, int]": dict[str, int],
        "Mapping[str, int]": Mapping[str, int],
        "defaultdict[str, int]": collections.defaultdict[str, int],
        "OrderedDict[str, int]": collections.OrderedDict[str, int],
        "Counter[str]": collections.Counter[str],
        "TypedDict": Typed,
        "NamedTuple": Named,
        "dataclass": Data,
        "BaseModel": Cat,
        "BaseModel, recursive": Tree,
        "BaseModel, generic": Envelope[int],
        "RootModel[list[int]]": pydantic.RootModel[list[int]],
        "Any": Any,
        "Hashable": Hashable,
        "Literal['a', 'b']": Literal["a", "b"],
        "Optional[int]": int | None,
        "int | str": int | str,
        "Cat | Dog, discriminated": Annotated[Cat | Dog, Field(discriminator="kind")],
        "UUID": uuid.UUID,
        "IPv4Address": ipaddress.IPv4Address,
        "IPv4Interface": ipaddress.IPv4Interface,
        "IPv4Network": ipaddress.IPv4Network,
        "IPv6Address": ipaddress.IPv6Address,
        "IPv6Interface": ipaddress.IPv6Interface,
        "IPv6Network": ipaddress.IPv6Network,
        "Path": pathlib.Path,
        "Pattern[str]": re.Pattern[str],
        "ZoneInfo": zoneinfo.ZoneInfo,
        "conint(ge=0, le=9)": pydantic.conint(ge=0, le=9),
        "constr(pattern='^[a-z]{5}$')": pydantic.constr(pattern="^[a-z]{5}$"),
        "conlist(float, min_length=3, max_length=3)": pydantic.conlist(float, min_length=3, max_length=3),
        "condate(gt=date(2030, 1, 1))": pydantic.condate(gt=datetime.date(2030, 1, 1)),
        "Json": pydantic.Json,
        "Json[list[int]]": pydantic.Json[list[int]],
        **{name: getattr(pydantic, name) for name in PYDANTICS_OWN},
    }.items()
} | {
    "FilePath": (pydantic.FilePath, __file__),
    "DirectoryPath": (pydantic.DirectoryPath, str(Path(__file__).parent)),
    "PaymentCardNumber": (pydantic.PaymentCardNumber, "4242424242424242"),
    "Secret[int]": (pydantic.Secret[int], NONE_NEEDED),
}


class Row(NamedTuple):
    """How a type fared: its space, a sample, how many samples were accepted, and how many came back equal."""

    space: str
    sample: str
    accepted: str
    observed: str


def first_payload(sent: type[Action], given: Any) -> str:
    """Return the JSON of an action that the model accepts: what is given, or what is sampled."""
    if given is not NONE_NEEDED:
        return json.dumps({"x": given})
    codec = compile_action(action_schema(sent), unwrap=False).codec
    codec.space.seed(1)
    return json.dumps(codec.encode(codec.space.sample()))


def environment(sent: type[Action], seen: type[Observation], first: str) -> type[Environment[Any, Any, Any]]:
    class Echo(Environment[Any, Any, Any]):
        """Shows what it was sent."""

        def reset(self, **_: Any) -> Observation:
            return seen.model_construct(x=sent.model_validate_json(first).x)

        def step(self, action: Any, **_: Any) -> Observation:
            return seen.model_construct(x=action.x)

        @property
        def state(self) -> State:
            return State()

    return Echo


def dumped(sent: type[Action], seen: type[Observation], payload: str) -> Any:
    """Return what Pydantic makes of a payload."""
    observation = seen.model_construct(x=sent.model_validate_json(payload).x)
    return json.loads(observation.model_dump_json())["x"]


def play(base_url: str, sent: type[Action], seen: type[Observation], first: str) -> Row:
    """Take sampled actions; compare what comes back with what Pydantic makes of them."""
    with closing(RemoteEnv(base_url, unwrap=False)) as env:
        env.action_space.seed(1)
        try:
            shown = [(env.reset()[0], first)]
        except ProtocolError as error:
            return Row(shortened(env.action_space["x"]), "", "", f"an error: {error.__cause__}")
        samples = [cast(env.action_space, env.action_space.sample()) for _ in range(STEPS)]
        payloads = [json.dumps(env._env_spaces.action.encode(sample)) for sample in samples]
        for sample, payload in zip(samples, payloads, strict=True):
            with suppress(ActionRefusedError):
                shown.append((env.step(sample)[0], payload))
        equal = [
            env.observation_to_json(observation)["x"] == dumped(sent, seen, payload)
            for observation, payload in shown
        ]
        assert all(observation in env.observation_space for observation, _ in shown)
        return Row(
            shortened(env.action_space["x"]),
            shortened(json.loads(payloads[0])["x"]),
            f"{len(shown) - 1} of {STEPS}",
            f"{sum(equal)} of {len(equal)}",
        )


def row_of(name: str) -> Row:
    kind, given = TYPES[name]
    sent = create_model("Sent", __base__=Action, x=(kind, ...))
    seen = create_model("Seen", __base__=Observation, x=(kind, ...))
    first = first_payload(sent, given)
    app = create_app(environment(sent, seen, first), sent, seen)
    rows = []
    for served in (without_v2(app), app):
        with running(served) as base_url:
            rows.append(play(base_url, sent, seen, first))
    one, two = rows
    return Row(*(a if a == b else f"version 1: {a}; version 2: {b}" for a, b in zip(one, two, strict=True)))


def shortened(value: Any) -> str:
    text = repr(value) if not isinstance(value, str) else value
    text = text.replace("-9223372036854775808, 9223372036854775806", "int64").replace("|", r"\|")
    return text if len(text) <= 70 else f"{text[:70]}…"


INTRODUCTION = f"""\
# Pydantic's types

Each type that Pydantic documents, as a field of an action and of an observation on a real server, in both
versions of the protocol. `tests/gym/test_pydantic_types.py` writes this file:

    OPENENV_UPDATE_DOCS=1 pytest tests/gym/test_pydantic_types.py

- **accepted**: how many of {STEPS} sampled actions the server's model takes. Where it takes none, the type
  says more than its JSON Schema; give the field `examples=[…]`, from which texts are sampled. (`Secret` is
  dumped as asterisks, which its own schema does not allow.)
- **observed**: how many of the observations, the one of the reset included, come back as Pydantic dumps them.

| type | space | a sample | accepted | observed |
|---|---|---|---|---|
"""


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(TYPES, pool.map(row_of, TYPES), strict=True))


@pytest.mark.timeout(300)
def test_the_document_is_up_to_date(rows: dict[str, Row]) -> None:
    escaped = r"\|"
    table = "\n".join(
        f"| `{name.replace('|', escaped)}` | `{row.space}` | `{row.sample}` "
        f"| {row.accepted} | {row.observed} |"
        for name, row in rows.items()
    )
    text = INTRODUCTION + table + "\n"
    if os.environ.get("OPENENV_UPDATE_DOCS"):
        DOCUMENT.write_text(text)
    assert DOCUMENT.read_text() == text, "stale: run this test with OPENENV_UPDATE_DOCS=1"


@pytest.mark.parametrize("name", TYPES)
def test_each_type_is_sampled_and_observed(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    if name == "Secret[int]":  # dumped as asterisks, which its own schema does not allow
        assert row.observed.startswith("an error: x: '**********' does not fit")
        return
    accepted, _, _ = row.accepted.partition(" of ")
    assert row.observed == f"{int(accepted) + 1} of {int(accepted) + 1}"
    if TYPES[name][1] is NONE_NEEDED:
        assert accepted == str(STEPS)
