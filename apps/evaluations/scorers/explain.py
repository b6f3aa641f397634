"""JSON Schema errors as sentences: what was found, what is wanted, what to do."""

from __future__ import annotations

import difflib
from typing import Any

from jsonschema.exceptions import ValidationError

Path = tuple[str | int, ...]

_TYPE_NAMES = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
    "null": "nothing (null)",
}


def describe(value: Any) -> str:
    """A value in a few words, however large it is."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}" if abs(value) < 1e18 else "a huge number"
    if isinstance(value, str):
        short = value if len(value) <= 40 else value[:39] + "…"
        return f"the text '{short}'"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"a mapping with {len(value)} keys"


def explain(error: ValidationError) -> tuple[Path, str]:
    """The place of an error and a sentence with the remedy."""
    path: Path = tuple(error.absolute_path)
    rule = str(error.validator)
    wanted: Any = error.validator_value
    instance: Any = error.instance
    found = describe(error.instance)
    if rule == "additionalProperties":
        return path, _unknown_key(error)
    if rule == "required":
        missing = [k for k in wanted if k not in instance]
        missing = [k for k in missing if f"'{k}' is" in error.message] or missing
        return path, f"The key '{missing[0]}' is missing. Add it."
    if rule == "type":
        names = [wanted] if isinstance(wanted, str) else list(wanted)
        want = " or ".join(_TYPE_NAMES.get(n, n) for n in names)
        hint = ""
        if "string" in names and isinstance(error.instance, bool | int | float):
            hint = " Put it in quotation marks."
        return path, f"Expected {want}, found {found}.{hint or ' Change it.'}"
    if rule in ("enum", "const"):
        choices = [wanted] if rule == "const" else list(wanted)
        near = difflib.get_close_matches(str(error.instance)[:100], [str(c) for c in choices], 1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(f"'{c}'" for c in choices)
        return path, f"Found {found}; allowed here: {listed}.{hint}"
    simple = {
        "pattern": f"Found {found}, which does not fit the form {wanted}. Rename it.",
        "minLength": "The text is empty. Fill it in, or leave the key out if it may be.",
        "maxLength": f"The text is longer than {wanted} characters. Shorten it.",
        "minItems": f"The list has {found[10:]} entries, fewer than {wanted}. Add what is missing."
        if isinstance(error.instance, list) and error.instance
        else "The list is empty. Add at least one entry.",
        "maxItems": f"The list has more than {wanted} entries. Split or shorten it.",
        "minimum": f"Found {found}, less than {wanted}. Use {wanted} or more.",
        "maximum": f"Found {found}, more than {wanted}. Use {wanted} or less.",
        "exclusiveMinimum": f"Found {found}; it must be greater than {wanted}.",
        "minProperties": "The mapping is empty. Add at least one key.",
        "maxProperties": f"The mapping has more than {wanted} keys. Remove some.",
        "uniqueItems": "An entry of the list appears twice. Remove one.",
    }
    return path, simple.get(rule, f"Found {found}, which breaks the rule '{rule}'. Change it.")


def _unknown_key(error: ValidationError) -> str:
    key = str(error.path[-1]) if error.path else "?"
    properties = error.schema.get("properties", {}) if isinstance(error.schema, dict) else {}
    known = list(properties)
    near = difflib.get_close_matches(key[:100], known, 1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Known here: {', '.join(known)}."
    short = key if len(key) <= 60 else key[:59] + "…"
    return f"The key '{short}' is not known. {hint} Rename or remove it."
