"""A space of each kind that can be declared, for the tests that all kinds have to pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from openenv_gym.spaces.custom import BoundedSequence, ExampleText, JsonText, PatternText, UnicodeText

_BOX = spaces.Box(np.array([0, -1]), np.array([1, np.inf]), dtype=np.float32)
_DISCRETE = spaces.Discrete(3, start=-1)

EACH_KIND: dict[str, spaces.Space[Any]] = {
    "Box": _BOX,
    "Discrete": _DISCRETE,
    "MultiDiscrete": spaces.MultiDiscrete([2, 3], start=[0, 1]),
    "MultiBinary": spaces.MultiBinary([2, 2]),
    "Text": spaces.Text(9, min_length=1, charset="abc"),
    "UnicodeText": UnicodeText(1, 9),
    "ExampleText": ExampleText(["a", "b"], 0, 9),
    "PatternText": PatternText("^[a-z]+$", 0, 9),
    "JsonText": JsonText([{"a": 1}, None]),
    "Tuple": spaces.Tuple([_BOX, _DISCRETE]),
    "Dict": spaces.Dict({"a": _BOX, "b": _DISCRETE}),
    "Sequence": spaces.Sequence(_BOX),
    "BoundedSequence": BoundedSequence(_DISCRETE, 1, 3, unique=True),
    "OneOf": spaces.OneOf([_BOX, _DISCRETE]),
    "Graph": spaces.Graph(_BOX, spaces.Box(0, 1, (1,))),  # older Gymnasiums have no graphs of other spaces
}
