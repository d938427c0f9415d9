"""JSON Schemas of models, with more than Pydantic says: samples that every client makes are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from enum import Flag
from functools import reduce
from operator import or_
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import SchemaValidator, ValidationError, core_schema, to_jsonable_python

_MOST_COMBINATIONS = 2**12
_BOUNDS = ("ge", "le", "gt", "lt")
_DATES = [f"{year}-02-0{day}" for year in (1970, 1999, 2024, 2999) for day in (1, 2, 3)]
_TIMES = ["12:30:00", "23:59:59", "06:00:00"]
_DURATIONS = ["PT0S", "PT30S", "-PT30S", "PT5M", "PT3H", "P1D", "P30D", "-P1D"]
_NUMBERS = ["0", "1", "-1", "2", "10", "0.5", "-0.5", "0.25", "1.5", "99.9", "0.001", "1000"]
_COMPLEX = ["1+2j", "-0.5j", "3"]


class ModelJsonSchema(GenerateJsonSchema):
    """Pydantic's generator, with two differences.

    A type whose constraints JSON Schema cannot express has ``examples`` that it accepts: a datetime without a
    timezone, a date in the future, a URL of one scheme. And the schema of a `Flag` allows its combinations.
    """

    def datetime_schema(self, schema: core_schema.DatetimeSchema) -> JsonSchemaValue:
        """Add examples if the datetime is constrained."""
        texts = [f"{day}T{_TIMES[0]}{zone}" for day in _DATES for zone in ("", "Z", "+02:00")]
        return self._with_examples(super().datetime_schema(schema), schema, texts, timedelta(hours=1))

    def date_schema(self, schema: core_schema.DateSchema) -> JsonSchemaValue:
        """Add examples if the date is constrained."""
        return self._with_examples(super().date_schema(schema), schema, _DATES, timedelta(days=1))

    def time_schema(self, schema: core_schema.TimeSchema) -> JsonSchemaValue:
        """Add examples if the time is constrained."""
        texts = [f"{text}{zone}" for text in _TIMES for zone in ("", "Z", "+02:00")]
        return self._with_examples(super().time_schema(schema), schema, texts)

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> JsonSchemaValue:
        """Add examples if the duration is constrained."""
        return self._with_examples(
            super().timedelta_schema(schema), schema, _DURATIONS, timedelta(milliseconds=1)
        )

    def complex_schema(self, schema: core_schema.ComplexSchema) -> JsonSchemaValue:
        """Add examples: for JSON Schema, a complex number is any text."""
        return {"examples": _COMPLEX, **super().complex_schema(schema)}

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Name the format of the text. If the digits are limited, allow text alone, and add examples."""
        made = super().decimal_schema(schema)
        branches = made.get("anyOf")
        if branches is None:
            return made
        text = next(branch for branch in branches if branch.get("type") == "string")
        text["format"] = "decimal"
        if schema.keys().isdisjoint({"max_digits", "decimal_places", "multiple_of"}):
            return made
        return self._with_examples(text, schema, _NUMBERS, Decimal("0.01"))

    def url_schema(self, schema: core_schema.UrlSchema) -> JsonSchemaValue:
        """Add examples if the scheme is limited."""
        return self._with_urls(super().url_schema(schema), schema)

    def multi_host_url_schema(self, schema: core_schema.MultiHostUrlSchema) -> JsonSchemaValue:
        """Add examples if the scheme is limited."""
        return self._with_urls(super().multi_host_url_schema(schema), schema)

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        """Allow the combinations of a flag's members."""
        made = super().enum_schema(schema)
        if not issubclass(schema["cls"], Flag):
            return made
        bits = {1 << place for member in schema["members"] for place in range(member.value.bit_length())}
        bits = {bit for bit in bits if any(member.value & bit for member in schema["members"])}
        made.pop("enum")
        made["type"] = "integer"
        if max(bits, default=0) < 2 ** len(bits) or len(bits) > _MOST_COMBINATIONS.bit_length() - 1:
            return {**made, "minimum": 0, "maximum": reduce(or_, bits, 0)}
        combinations = {0}
        for bit in bits:
            combinations |= {value | bit for value in combinations}
        return {**made, "enum": sorted(combinations)}

    def _with_urls(
        self, made: JsonSchemaValue, schema: core_schema.UrlSchema | core_schema.MultiHostUrlSchema
    ) -> JsonSchemaValue:
        if "examples" in made or "allowed_schemes" not in schema:
            return made
        urls = [f"{scheme}://user:password@localhost:1234/1" for scheme in schema["allowed_schemes"]]
        urls += [f"{scheme}://localhost/path" for scheme in schema["allowed_schemes"]]
        return self._with_examples(made, schema, ["https://example.com/no", *urls])

    def _with_examples(
        self, made: JsonSchemaValue, schema: Any, texts: Sequence[str], unit: Any = None
    ) -> JsonSchemaValue:
        """Add the texts that are accepted, and texts near the bounds, unless all are accepted."""
        if self.mode != "validation" or made.get("type") != "string":
            return made
        bounds = [schema[name] for name in _BOUNDS if name in schema]
        if unit is not None:
            near = [bound + way * unit for bound in bounds for way in (-1, 0, 1)]
            texts = [*texts, *(str(to_jsonable_python(value)) for value in near)]
        validator = SchemaValidator(schema)
        accepted = [text for text in texts if _accepts(validator, text)]
        return made if not accepted or len(accepted) == len(texts) else {**made, "examples": accepted}


def _accepts(validator: SchemaValidator, text: str) -> bool:
    try:
        validator.validate_python(text)
    except ValidationError:
        return False
    return True
