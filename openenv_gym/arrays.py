"""`Array` annotates a field of a Pydantic model with the dtype and the shape of its NumPy array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from openenv_gym.schema_keywords import SPACE_KEYWORD


class Array:
    """An array of exactly one dtype and shape.

    In JSON it is nested lists, so that every client can read it. The schema declares the exact `Box`, which
    becomes the space. Lists are converted; an array must have the dtype already.

    Args:
        dtype: A numeric NumPy dtype.
        shape: The shape; () for a single number.
        low: The lowest value. By default the dtype's own; minus infinity for floats.
        high: The highest value. By default the dtype's own; infinity for floats.

    Example:
        >>> class Seen(Observation):
        ...     frame: Annotated[np.ndarray, Array(np.uint8, (210, 160, 3))]
        ...     joints: Annotated[np.ndarray, Array(np.float32, (7,), low=-3.14, high=3.14)]
    """

    def __init__(
        self,
        dtype: DTypeLike,
        shape: Sequence[int],
        *,
        low: float | None = None,
        high: float | None = None,
    ) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.shape: tuple[int, ...] = tuple(shape)
        if self.dtype.kind not in "iuf":
            raise TypeError(f"The dtype of an Array must be an integer or a float, got {self.dtype}")
        whole: Any = np.iinfo(self.dtype) if self.dtype.kind in "iu" else None
        self.low: float = low if low is not None else (int(whole.min) if whole else -math.inf)
        self.high: float = high if high is not None else (int(whole.max) if whole else math.inf)
        self._low, self._high = np.array([self.low, self.high]).astype(self.dtype)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validate,
            # Not only for JSON: other servers dump a model to Python's own values first.
            serialization=core_schema.plain_serializer_function_ser_schema(np.ndarray.tolist),
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        items: dict[str, Any] = {"type": "integer" if self.dtype.kind in "iu" else "number"}
        if math.isfinite(self.low):
            items["minimum"] = self.low
        if math.isfinite(self.high):
            items["maximum"] = self.high
        for length in reversed(self.shape):
            items = {"type": "array", "items": items, "minItems": length, "maxItems": length}
        description = {
            "type": "Box",
            "low": self.low if math.isfinite(self.low) else "-Infinity",
            "high": self.high if math.isfinite(self.high) else "Infinity",
            "shape": list(self.shape),
            "dtype": self.dtype.name,
        }
        return {**items, SPACE_KEYWORD: description}

    def _validate(self, value: Any) -> np.ndarray[Any, Any]:
        if isinstance(value, np.ndarray) and value.dtype != self.dtype:
            raise PydanticCustomError(
                "array_dtype",
                "an array of {wanted}, not {dtype}",
                {"wanted": str(self.dtype), "dtype": str(value.dtype)},
            )
        try:
            array = np.array(value, dtype=self.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise PydanticCustomError(
                "array_values",
                "an array of {wanted}: {reason}",
                {"wanted": str(self.dtype), "reason": str(error)},
            ) from error
        if array.shape != self.shape:
            raise PydanticCustomError(
                "array_shape",
                "the shape {wanted}, not {shape}",
                {"wanted": str(self.shape), "shape": str(array.shape)},
            )
        if not isinstance(value, np.ndarray) and self.dtype.kind != "f" and not np.array_equal(array, value):
            raise PydanticCustomError(
                "array_values", "whole numbers of {wanted}", {"wanted": str(self.dtype)}
            )
        if array.size and not (self._low <= array.min() and array.max() <= self._high):
            raise PydanticCustomError(
                "array_bounds", "values from {low} to {high}", {"low": str(self.low), "high": str(self.high)}
            )
        return array
