"""The JSON Schema of a study's TOML file, for editors."""

from __future__ import annotations

from typing import Any

import msgspec

from sparsify.study.schema import StudyFile


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a study's TOML file."""
    schema = msgspec.json.schema(StudyFile)
    title = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A study of sparsify"}
    numbers: dict[str, Any] = _numbers(schema)
    return title | numbers


def _numbers(schema: Any) -> Any:
    """Return the schema with "number" instead of "integer or number"."""
    if isinstance(schema, list):
        kinds = [{"type": "integer"}, {"type": "number"}]
        return [_numbers(one) for one in schema if one != kinds[0] or kinds[1] not in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: _numbers(value) for key, value in schema.items()}
    if schema.get("anyOf") == [{"type": "number"}]:
        del schema["anyOf"]
        schema["type"] = "number"
    return schema
