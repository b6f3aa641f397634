"""The JSON Schema of a suite, built from the registered scorers.

`schema.json` beside this file is its published copy; a test keeps the two equal. After a change:
    python -m apps.evaluations.suitefile > apps/evaluations/suitefile/schema.json
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from apps.evaluations.scorers.registry import SCORERS
from apps.evaluations.suitefile.types import SCHEMA

MAX_CASES = 100_000
MAX_IMAGE_BYTES = 5 * 1024 * 1024
ROLES = ["system", "developer", "user", "assistant", "tool"]
MEDIA_TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"]
TOOL_NAME = "^[A-Za-z0-9_-]{1,64}$"
SHA256 = "^[0-9a-f]{64}$"
IMAGE_REFERENCE = "^([0-9a-f]{64}|\\{\\{ ?[A-Za-z_][A-Za-z0-9_]{0,63} ?\\}\\})$"
KEY = "^[a-z][a-z0-9_]{0,63}$"
SLUG = "^[a-z0-9]+(-[a-z0-9]+)*$"
CASE_ID = "^[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}$"
Schema = dict[str, Any]


def _object(properties: Schema, required: list[str], **more: Any) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        **more,
    }


def _text(description: str, maximum: int = 2000, minimum: int = 1) -> Schema:
    return {
        "type": "string",
        "minLength": minimum,
        "maxLength": maximum,
        "description": description,
    }


def _list(items: Schema, maximum: int, minimum: int = 0, description: str = "") -> Schema:
    schema: Schema = {"type": "array", "items": items, "minItems": minimum, "maxItems": maximum}
    return {**schema, "description": description} if description else schema


_PARTS = _list(
    {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": ["text", "image"]}},
        "allOf": [
            {
                "if": {"properties": {"type": {"const": "text"}}, "required": ["type"]},
                "then": _object({"type": True, "text": _text("", 200_000)}, ["type", "text"]),
            },
            {
                "if": {"properties": {"type": {"const": "image"}}, "required": ["type"]},
                "then": _object(
                    {
                        "type": True,
                        "sha256": {
                            "type": "string",
                            "pattern": IMAGE_REFERENCE,
                            "description": "Hash of an entry of 'images', or a {{variable}}.",
                        },
                        "detail": {"enum": ["low", "high", "auto"]},
                    },
                    ["type", "sha256"],
                ),
            },
        ],
    },
    100,
    1,
)

_MESSAGE = _object(
    {
        "role": {"enum": ROLES},
        "content": {
            **_PARTS,
            "type": ["string", "array"],
            "minLength": 1,
            "maxLength": 200_000,
            "description": "Text, in the suite's prompt with {{variables}}; or text and images.",
        },
        "tool_calls": _list(
            _object(
                {
                    "id": _text("Named again by the tool's answer.", 100),
                    "name": {"type": "string", "pattern": TOOL_NAME},
                    "arguments": {"type": "object"},
                },
                ["id", "name"],
            ),
            50,
            1,
            "Calls that this turn of the assistant made.",
        ),
        "tool_call_id": _text("The call that a message of role 'tool' answers.", 100),
    },
    ["role"],
)

_TOOL = _object(
    {
        "name": {"type": "string", "pattern": TOOL_NAME},
        "description": _text("What it does, for the model.", 10_000, 0),
        "parameters": {"type": "object", "description": "JSON Schema of its arguments."},
        "strict": {"type": "boolean"},
    },
    ["name"],
)

_ASKING: Schema = {
    "tools": _list({"$ref": "#/$defs/tool"}, 128, 0, "Functions that the model may call."),
    "tool_choice": {
        "type": ["string", "object"],
        "pattern": "^(auto|none|required)$",
        "properties": {"name": {"type": "string", "pattern": TOOL_NAME}},
        "required": ["name"],
        "additionalProperties": False,
        "description": "auto, none or required; or {name: …} for one that must be called.",
    },
    "response_format": {"$ref": "#/$defs/response_format"},
}

_RESPONSE_FORMAT = _object(
    {
        "type": {"enum": ["text", "json_object", "json_schema"]},
        "name": {"type": "string", "pattern": TOOL_NAME},
        "schema": {"type": "object", "description": "JSON Schema that the answer must fit."},
        "strict": {"type": "boolean"},
    },
    ["type"],
)

_IMAGE = _object(
    {
        "sha256": {"type": "string", "pattern": SHA256, "description": "Of its bytes."},
        "media_type": {"enum": MEDIA_TYPES},
        "alt": _text("What it shows, for people.", 2000, 0),
        "file": _text("Where it lies beside suite.yaml, such as images/receipt.png.", 300),
        "data": {
            "type": "string",
            "maxLength": MAX_IMAGE_BYTES * 4 // 3 + 8,
            "description": "Its bytes as base64, in a suite that is one file.",
        },
    },
    ["sha256", "media_type"],
)

_PROMPT: Schema = {
    "description": "One text (a user message), or messages; {{name}} takes a case's variable.",
    **_object(
        {
            "messages": _list({"$ref": "#/$defs/message"}, 50, 1),
            "prefix": _text("Few-shot text put before the first user message, as is.", 200_000, 0),
        },
        ["messages"],
        minLength=1,
        maxLength=200_000,
    ),
    "type": ["string", "object"],
}

_METRIC = _object(
    {
        "key": {"type": "string", "pattern": KEY, "description": "Name in tables and results."},
        "label": _text("Name for people.", 100),
        "scorer": {"type": "string", "description": "Key of the scorer it is the mean of."},
        "direction": {
            "enum": ["higher", "lower", "neutral"],
            "description": "Which way is better; neutral where any move counts.",
        },
        "margin": {
            "type": "number",
            "minimum": 0,
            "description": "Materiality: a smaller change, in the metric's unit, is immaterial.",
        },
        "unit": _text("Such as 'share' or 'words'.", 40, 0),
        "bounds": {
            "type": ["array", "null"],
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
            "description": "Lowest and highest possible value; null where there is none.",
        },
        "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
    },
    ["key", "label", "scorer", "direction", "margin"],
)

_CASE = _object(
    {
        "id": {"type": "string", "pattern": CASE_ID, "description": "Unique in the suite."},
        "vars": {
            "type": "object",
            "maxProperties": 100,
            "description": "Values of the template's variables. Other keys are allowed.",
        },
        "messages": _list({"$ref": "#/$defs/message"}, 200, 1, "Instead of the suite's prompt."),
        "expect": {"description": "What the scorers compare with. Its form is theirs."},
        "tags": _list(_text("", 64), 20),
        "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000},
        "note": _text("For people.", 2000, 0),
        **_ASKING,
    },
    ["id"],
)


def _scorer() -> Schema:
    """A scorer: its type decides which parameters it has."""
    branches = [
        {
            "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
            "then": {"$ref": f"#/$defs/scorer_{name}"},
        }
        for name in SCORERS
    ]
    return {
        "type": "object",
        "required": ["key", "type"],
        "properties": {
            "key": {"type": "string", "pattern": KEY},
            "type": {"enum": list(SCORERS)},
        },
        "allOf": branches,
    }


@cache
def suite_schema() -> Schema:
    """The whole schema: draft 2020-12, no unknown keys anywhere."""
    scorers = {}
    for name, scorer in SCORERS.items():
        schema = scorer.params_schema()
        properties = {"key": True, "type": True, **schema["properties"]}
        scorers[f"scorer_{name}"] = {
            **schema,
            "description": scorer.summary,
            "properties": properties,
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:govtrack:suite:1",
        "title": "GovTrack suite",
        **_object(
            {
                "schema": {"const": SCHEMA},
                "slug": {"type": "string", "pattern": SLUG, "maxLength": 64},
                "name": _text("Name for people.", 100),
                "summary": _text("What the suite measures."),
                "not_measured": _text("What it does not measure, so that nobody assumes it."),
                "license": _text("SPDX expression.", 100),
                "source": _text("Where the cases come from."),
                "personal_data": {"type": "boolean", "description": "Whether cases hold any."},
                "prompt": {"$ref": "#/$defs/prompt"},
                "defaults": _object(
                    {
                        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 100_000},
                        "stop": _list(_text("", 100), 4, 0, "Texts at which an answer ends."),
                        **_ASKING,
                    },
                    [],
                ),
                "images": _list({"$ref": "#/$defs/image"}, 1000, 0, "What messages show."),
                "scorers": _list({"$ref": "#/$defs/scorer"}, 50, 1),
                "metrics": _list({"$ref": "#/$defs/metric"}, 50, 1),
                "cases": _list({"$ref": "#/$defs/case"}, MAX_CASES, 1),
            },
            [
                "schema",
                "slug",
                "name",
                "summary",
                "not_measured",
                "license",
                "source",
                "personal_data",
                "scorers",
                "metrics",
                "cases",
            ],
        ),
        "$defs": {
            "message": _MESSAGE,
            "tool": _TOOL,
            "response_format": _RESPONSE_FORMAT,
            "image": _IMAGE,
            "prompt": _PROMPT,
            "metric": _METRIC,
            "case": _CASE,
            "scorer": _scorer(),
            **scorers,
        },
    }


@cache
def frame_schema() -> Schema:
    """Of a suite whose cases lie in another file."""
    schema = suite_schema()
    properties = {key: value for key, value in schema["properties"].items() if key != "cases"}
    required = [key for key in schema["required"] if key != "cases"]
    return {**schema, "properties": properties, "required": required}


def published() -> str:
    """The text of schema.json."""
    return json.dumps(suite_schema(), indent=2, ensure_ascii=False) + "\n"
