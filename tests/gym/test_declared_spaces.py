"""Spaces of served Gymnasium environments: of every kind, dtype and bound, custom ones, and those refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from openenv_gym.errors import SchemaError
from openenv_gym.spaces import codec_from_space, schema_from_space
from openenv_gym.spaces.columns import column_of
from openenv_gym.spaces.custom import ExampleText, UnicodeText
from openenv_gym.spaces.declared import _KINDS, build_space, describe_space
from openenv_gym.wire import v2
from openenv_gym.wire.v2 import Attachments
from tests.support.each_kind import EACH_KIND
from tests.support.vectors import assert_equal

COUNT = 3
DOCUMENT = Path(__file__).parents[2] / "docs" / "spaces.md"


def over_the_wire(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """The space as a client builds it from the server's schema."""
    return build_space(json.loads(json.dumps(describe_space(space), allow_nan=False)))


def assert_comes_back(space: spaces.Space[Any], element: Any) -> None:
    """An element is in the client's space and equal there, as JSON and as a column of version 2."""
    server, client = codec_from_space(space), codec_from_space(over_the_wire(space))
    decoded = client.decode(json.loads(json.dumps(server.encode(element), allow_nan=False)))
    assert decoded in client.space
    assert_equal(element, decoded)
    attachments = Attachments()
    column = column_of(server).from_elements([element] * COUNT, attachments)
    sent = v2.encode(v2.Result(id=1, slots=[0, 1, 2], observations=column, rewards=[]), attachments)
    received: Any = v2.decode_answer(memoryview(bytearray(b"".join(sent))))
    memory = column_of(client).allocate(COUNT)
    column_of(client).write(received.observations, memory, slice(None))
    batch = column_of(client).batch(memory, copy=True)
    assert batch in batch_space(client.space, COUNT)
    for part in column_of(client).split(batch, COUNT):
        assert_equal(element, part)
    assert column_of(server).elements(column_of(client).from_batch(batch, COUNT), COUNT)


def test_all_kinds_are_tested() -> None:
    """Also as hostile schemas and as forms of the playground, whose tests take them from there."""
    assert {describe_space(space)["type"] for space in EACH_KIND.values()} == set(EACH_KIND) == set(_KINDS)


@pytest.mark.parametrize("kind", EACH_KIND)
def test_each_kind_comes_back_equal_and_samples_the_same(kind: str) -> None:
    space = EACH_KIND[kind]
    twin = over_the_wire(space)
    assert twin == space
    space.seed(3)
    twin.seed(3)
    for _ in range(20):
        element = space.sample()
        assert_equal(element, twin.sample())
        assert_comes_back(space, element)


def test_the_documented_descriptions_are_those_of_each_kind() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Spaces in a schema")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\{.*?\})`(?:; [^|]*)? \| `(.*)` \|$", section, re.MULTILINE)
    kinds = []
    for description, payload in rows:
        space = build_space(json.loads(description))
        assert codec_from_space(space).decode(json.loads(payload)) in space, description
        assert json.loads(description).keys() == describe_space(space).keys(), description
        kinds.append(json.loads(description)["type"])
    assert kinds == list(_KINDS)


def test_a_kind_that_is_not_known_yet_is_named() -> None:
    with pytest.raises(SchemaError, match=r"the kind 'Sphere', which this version does not know") as raised:
        build_space({"type": "Tuple", "spaces": [{"type": "Sphere", "radius": 1}]})
    assert "pip install -U openenv-gym" in (raised.value.advice or "")


BOXES = {
    "bool": spaces.Box(0, 1, (3,), np.bool_),
    "bool, two axes": spaces.Box(0, 1, (2, 2), bool),
    "bool, fixed": spaces.Box(np.array([True, False]), np.array([True, True]), dtype=np.bool_),
    "bool, shape ()": spaces.Box(0, 1, (), np.bool_),
    "uint8": spaces.Box(3, 250, (2, 3), np.uint8),
    "int8": spaces.Box(-128, 127, (2,), np.int8),
    "uint16": spaces.Box(0, 65535, (2,), np.uint16),
    "int32, shape ()": spaces.Box(-5, 5, (), np.int32),
    "uint32": spaces.Box(0, 2**32 - 1, (1,), np.uint32),
    "int64": spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
    "int64 to 2**63 - 1": spaces.Box(-5, 2**63 - 1, (), np.int64),
    "uint64": spaces.Box(0, 2**64 - 1, (2,), np.uint64),
    "uint64 from 2**63": spaces.Box(2**63, 2**64 - 1, (), np.uint64),
    "float16": spaces.Box(-1, 1, (2,), np.float16),
    "float16, unbounded": spaces.Box(-np.inf, np.inf, (2,), np.float16),
    "float16, shape ()": spaces.Box(-1, np.inf, (), np.float16),
    "float32, its greatest": spaces.Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (2,), np.float32),
    "float32, mixed": spaces.Box(np.array([-np.inf, 0.1]), np.array([0.3, np.inf]), dtype=np.float32),
    "float64": spaces.Box(-0.1, 1e300, (2, 1), np.float64),
    "empty": spaces.Box(0, 1, (0,), np.float32),
    "no columns": spaces.Box(0, 1, (2, 0), np.uint8),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", BOXES)
def test_a_box_comes_back_equal(name: str) -> None:
    space = BOXES[name]
    assert over_the_wire(space) == space
    assert over_the_wire(space).dtype == space.dtype
    # Gymnasium samples a scalar for some dtypes, and cannot sample some ranges up to the greatest integer.
    samples = [] if "2**63" in name else [np.asarray(space.sample(), space.dtype) for _ in range(10)]
    for element in (*samples, space.low, space.high):
        assert_comes_back(space, element.copy())


def test_a_payload_of_another_type_is_no_boolean() -> None:
    for shape in ((), (2,)):
        codec = codec_from_space(spaces.Box(0, 1, shape, np.bool_))
        for wrong in (2, 0.5, "true", None):
            with pytest.raises(ValueError, match="does not fit"):
                codec.decode(wrong if not shape else [wrong, wrong])


NODES = {
    "Box": spaces.Box(-1, 1, (2,), np.float32),
    "Box of shape ()": spaces.Box(-np.inf, np.inf, (), np.float64),
    "Discrete": spaces.Discrete(3, start=1),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary(3),
    "Dict": spaces.Dict({"at": spaces.Box(0, 1, (2,), np.float32), "kind": spaces.Discrete(4)}),
    "Tuple": spaces.Tuple([spaces.Discrete(4), spaces.Box(0, 255, (2, 2), np.uint8)]),
    "Dict of Tuple": spaces.Dict({"both": spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(2)])}),
    "Tuple of Dict": spaces.Tuple([spaces.Dict({"bit": spaces.Box(0, 1, (2,), np.bool_)})]),
}
# Before Gymnasium 1.4, graphs are made of these, and samples of others are not in the space.
GRAPHS_OF = (
    set(NODES)
    if hasattr(spaces.Graph(NODES["Box"], None), "batch_node_space")
    else {"Box", "Box of shape ()"}
)


@pytest.mark.parametrize("edge", [None, *NODES])
@pytest.mark.parametrize("node", NODES)
def test_a_graph_comes_back_equal(node: str, edge: str | None) -> None:
    if not {node, edge or "Box"} <= GRAPHS_OF:
        pytest.skip(f"Gymnasium {gym.__version__} has no such graphs")
    space = spaces.Graph(NODES[node], None if edge is None else NODES[edge], seed=1)
    assert over_the_wire(space) == space
    for nodes in (1, 2, 5):
        assert_comes_back(space, space.sample(num_nodes=nodes))


def test_a_graph_in_a_dict() -> None:
    node, edge = ("Dict", "Tuple") if "Dict" in GRAPHS_OF else ("Box", "Box")
    graph = spaces.Graph(NODES[node], NODES[edge])
    space = spaces.Dict({"graph": graph, "parts": spaces.Tuple([graph, spaces.Discrete(2)])}, seed=1)
    assert_comes_back(space, space.sample())


class Mission(spaces.Space[str]):
    """Words from a small grammar, as MiniGrid has them."""

    def __init__(self) -> None:
        super().__init__(dtype=str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        return f"go to the {self.np_random.choice(['red', 'green'])} {self.np_random.choice(['ball', 'key'])}"

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and x.startswith("go to the ")


class Shouted(spaces.Text):
    """Text with other characters than its alphabet."""

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        return f"¡{super().sample()}!"

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and x.startswith("¡")


class Forgetful(Mission):
    """Its samples do not depend on its seed."""

    calls = 0

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        Forgetful.calls += 1
        return f"go to the door {self.calls}"


class Silent(spaces.Space[str]):
    """Texts that cannot be sampled."""

    def __init__(self) -> None:
        super().__init__(dtype=str)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


class Image(spaces.Box):
    def __init__(self) -> None:
        super().__init__(0, 255, (4, 4, 3), np.uint8)


class Even(spaces.Discrete):
    """Narrower than what it is described as."""

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        return super().sample() // 2 * 2

    def contains(self, x: Any) -> bool:
        return bool(super().contains(x) and x % 2 == 0)


class Named(spaces.Dict):
    pass


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (Mission(), ExampleText),
        (Shouted(5), ExampleText),
        (Forgetful(), UnicodeText),
        (Image(), spaces.Box),
        (Even(7), spaces.Discrete),
        (Named({"image": Image(), "mission": Mission()}), spaces.Dict),
        (spaces.Tuple([Even(4), Mission()]), spaces.Tuple),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, spaces.Space) else "",
)
def test_a_custom_space_is_the_nearest_one(space: spaces.Space[Any], kind: type) -> None:
    assert type(over_the_wire(space)) is kind
    for _ in range(5):
        assert_comes_back(space, space.sample())


def test_texts_that_cannot_be_sampled_are_any_text() -> None:
    assert type(over_the_wire(Silent())) is UnicodeText
    assert_comes_back(Silent(), "any text")


def test_the_schema_of_a_custom_space_is_the_same_in_each_process() -> None:
    assert schema_from_space(spaces.Dict({"m": Mission()})) == schema_from_space(
        spaces.Dict({"m": Mission()})
    )
    assert " at 0x" not in json.dumps(schema_from_space(Mission()))


def test_samples_of_custom_text_are_what_the_server_takes() -> None:
    space = Mission()
    remote = over_the_wire(space)
    assert over_the_wire(Mission()) == remote, "the same from each server"
    assert all(remote.sample() in space for _ in range(20))
    with pytest.raises(ValueError, match="not in"):
        column_of(codec_from_space(space)).elements(["fly"], 1)
    assert "fly to the moon" in remote, "an observation may be any text"


class Unknown(spaces.Space[Any]):
    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        return object()


class Unsampled(spaces.Space[Any]):
    pass


class Lying(spaces.Box):
    """A subclass whose samples are not those of its base."""

    def __init__(self) -> None:
        super().__init__(0, 1, (2,))

    def sample(self, mask: Any = None, probability: Any = None) -> Any:
        return [0, "a"]


@pytest.mark.parametrize("kind", [Unknown, Unsampled, Lying])
def test_other_spaces_are_refused_by_name(kind: type[spaces.Space[Any]]) -> None:
    for space in (kind(), spaces.Dict({"part": kind()})):
        with pytest.raises(SchemaError, match=f"^{kind.__name__} is not one of the spaces") as raised:
            schema_from_space(space)
        assert "TransformObservation" in str(raised.value)
        assert "--wrap MODULE:CLASS" in str(raised.value)
