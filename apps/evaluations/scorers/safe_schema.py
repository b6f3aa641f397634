"""JSON Schema that strangers may write: linear patterns, no network, a bounded number of steps.

The stock validator runs `pattern` with a backtracking engine, fetches remote `$ref`s over HTTP,
compares `uniqueItems` pairwise, and follows a schema that doubles at each `$ref` for ever.
Here patterns are RE2, references stay inside the schema, and a budget ends the work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import re2  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from apps.evaluations.scorers.explain import Path, explain

Complaint = tuple[Path, str]
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_STEPS = 400_000
MAX_DEPTH = 60
_steps: ContextVar[list[int]] = ContextVar("schema_steps")
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 4 << 20


class SchemaBudgetError(Exception):
    """Validation was given up: too many steps, or a reference that leads in a circle."""


def compile_pattern(pattern: str, *, ignore_case: bool = False) -> Any:
    """A compiled RE2 pattern. Raises ValueError with a sentence when RE2 refuses it."""
    options = _OPTIONS
    if ignore_case:
        options = re2.Options()
        options.log_errors = False
        options.max_mem = 4 << 20
        options.case_sensitive = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else "unknown reason"
        if isinstance(reason, bytes):
            reason = reason.decode("utf-8", "replace")
        raise ValueError(
            f"The pattern is refused by RE2 ({reason}). RE2 has no look-around and no "
            "back-references, so that no answer can make it run for ever: write it without them."
        ) from None
    except UnicodeEncodeError:
        raise ValueError("The pattern holds a lone surrogate. Remove that character.") from None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not compile_pattern(pattern).search(_utf8(instance)):
        yield ValidationError("does not match the pattern")


def _pattern_properties(
    validator: Any, patterns: dict[str, Any], instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, subschema in patterns.items():
        compiled = compile_pattern(pattern)
        for key, value in instance.items():
            if compiled.search(_utf8(key)):
                yield from validator.descend(value, subschema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known = schema.get("properties", {})
    patterns = [compile_pattern(p) for p in schema.get("patternProperties", {})]
    for key, value in instance.items():
        if key in known or any(p.search(_utf8(key)) for p in patterns):
            continue
        if isinstance(allowed, dict):
            yield from validator.descend(value, allowed, path=key)
        elif allowed is False:
            yield ValidationError("unknown key", path=[key])


def _unique_items(
    validator: Any, wanted: bool, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if wanted and isinstance(instance, list):
        seen = {json.dumps(_plain_numbers(item), sort_keys=True) for item in instance}
        if len(seen) < len(instance):
            yield ValidationError("items repeat")


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain_numbers(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain_numbers(v) for k, v in value.items()}
    return value


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _counted(rule: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    def run(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        budget = _steps.get()
        # A step costs what it may look at: one rule can walk all keys, or all items.
        budget[0] -= 1 + (len(instance) if isinstance(instance, list | dict) else 0)
        if budget[0] < 0:
            raise SchemaBudgetError("the schema takes too many steps on this value")
        yield from rule(validator, value, instance, schema) or ()

    return run


_RULES: dict[str, Callable[..., Any]] = {
    **Draft202012Validator.VALIDATORS,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
SafeValidator = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator, {name: _counted(rule) for name, rule in _RULES.items()}
)


def schema_problem(schema: Any) -> str | None:
    """Why a user's schema cannot be used, as a sentence; None when it can."""
    if not isinstance(schema, dict):
        return "A JSON Schema must be an object, such as {'type': 'object'}."
    dialect = schema.get("$schema", _DIALECT)
    if not isinstance(dialect, str) or dialect.rstrip("#") != _DIALECT:
        return f"Only JSON Schema draft 2020-12 is read. Set '$schema' to {_DIALECT}."
    try:
        for node in _nodes(schema):
            reference = node.get("$ref", node.get("$dynamicRef"))
            if isinstance(reference, str) and not reference.startswith("#"):
                return (
                    f"'$ref: {reference[:80]}' leads outside the schema, and nothing is fetched. "
                    "Copy that part under '$defs' and refer to it by '#/$defs/…'."
                )
            if node is not schema and isinstance(node.get("$schema"), str):
                return "'$schema' inside the schema is not read. Keep it at the top, or remove it."
            if "unevaluatedProperties" in node or "unevaluatedItems" in node:
                return (
                    "'unevaluatedProperties' and 'unevaluatedItems' are not supported. "
                    "Use 'additionalProperties' or 'items' instead."
                )
            if isinstance(node.get("pattern"), str):
                compile_pattern(node["pattern"])
            if isinstance(node.get("patternProperties"), dict):
                for pattern in node["patternProperties"]:
                    compile_pattern(pattern)
        Draft202012Validator.check_schema(schema)
    except ValueError as error:
        return str(error)
    except SchemaError as error:
        where = ".".join(str(p) for p in error.absolute_path) or "its top level"
        return f"Not a valid JSON Schema (draft 2020-12) at {where[:120]}. Correct that keyword."
    except RecursionError:
        return f"The schema is nested deeper than {MAX_DEPTH} levels. Flatten it."
    return None


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    stack: list[tuple[Any, int]] = [(schema, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise RecursionError
        if isinstance(node, dict):
            yield node
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)


def errors(
    schema: dict[str, Any], value: Any, *, limit: int = 50, steps: int = MAX_STEPS
) -> list[ValidationError]:
    """At most `limit` validation errors. Raises SchemaBudgetError when the work is given up."""
    # A '$schema' would make jsonschema go on with its stock rules instead of ours.
    schema = {k: v for k, v in schema.items() if k != "$schema"}
    token = _steps.set([steps])
    found: list[ValidationError] = []
    try:
        registry: Registry[Any] = Registry()
        for error in SafeValidator(schema, registry=registry).iter_errors(value):
            found.append(error)
            if len(found) >= limit:
                break
    except (RecursionError, Unresolvable) as error:
        raise SchemaBudgetError("a '$ref' leads in a circle or to nothing") from error
    finally:
        _steps.reset(token)
    return found


def complaints(
    schema: dict[str, Any], value: Any, *, limit: int = 50, steps: int = MAX_STEPS
) -> list[Complaint]:
    """What is wrong with a value, as (path, sentence with its remedy), in the value's order."""
    return [explain(error) for error in errors(schema, value, limit=limit, steps=steps)]
