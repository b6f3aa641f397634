"""Request bodies that are refused before anything reads them: too big, not JSON, not storable."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import IO, Any

from django.conf import settings
from rest_framework import parsers
from rest_framework.exceptions import APIException, ParseError, ValidationError

MAX_DEPTH = 64
FORM_OVERHEAD = 64 * 1024  # boundaries and part headers of a multipart body


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "body_too_large"
    default_detail = "Request body too large"

    def __init__(self, limit: int, what: str = "The request body") -> None:
        super().__init__(f"{what} is larger than {limit // 1024:,} KiB. Send less in one request.")


def refuse_large(request: Any, limit: int) -> None:
    """By the length that the client states, so that nothing is read in vain."""
    stated = str(request.META.get("CONTENT_LENGTH") or "0")
    if stated.isdigit() and int(stated) > limit:
        raise BodyTooLarge(limit)


def read_limited(stream: IO[bytes], limit: int) -> bytes:
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise BodyTooLarge(limit)
    return data


class _NotFinite:
    """Stands for NaN or Infinity until the field that holds it can be named."""

    def __init__(self, literal: str) -> None:
        self.literal = literal


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValidationError({twice[:120]: ["This field is given twice; give it once."]})
    return value


def _faults(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        yield path, f"Nested deeper than {MAX_DEPTH} levels."
    elif isinstance(value, _NotFinite):
        yield path, f"{value.literal} is not a number that can be stored. Give a finite number."
    elif isinstance(value, float) and not math.isfinite(value):
        yield path, "The number is too large to be stored. Give a finite number."
    elif isinstance(value, str):
        if "\x00" in value:
            yield path, "NUL characters cannot be stored. Remove them."
        elif any("\ud800" <= c <= "\udfff" for c in value):
            yield path, "Half a surrogate pair is not a character. Remove it."
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _faults(key, path, depth + 1)
            yield from _faults(item, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _faults(item, f"{path}[{index}]", depth + 1)


class StrictJSONParser(parsers.JSONParser):
    """UTF-8 JSON of limited size and depth, without NaN, Infinity, NUL or duplicate names."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Raises BodyTooLarge, ParseError, or ValidationError naming the field at fault."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if parser_context and "request" in parser_context:
            refuse_large(parser_context["request"], limit)
        raw = read_limited(stream, limit)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ParseError(
                f"The body is not UTF-8 (byte {error.start}). Send UTF-8 encoded JSON."
            ) from None
        try:
            value = json.loads(text, parse_constant=_NotFinite, object_pairs_hook=_pairs)
        except json.JSONDecodeError as error:
            raise ParseError(
                f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            ) from None
        except RecursionError:
            raise ParseError(f"The body is nested deeper than {MAX_DEPTH} levels.") from None
        except ValueError:  # an integer of thousands of digits
            raise ParseError("The body holds a number that is too long.") from None
        if fault := next(_faults(value), None):
            raise ValidationError({fault[0][:300] or "body": [fault[1]]})
        return value


class TextParser(parsers.BaseParser):
    """A text document (YAML) as it is: the service that takes it reads and judges it."""

    media_type = "application/yaml"
    max_bytes = 12 * 1024 * 1024

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        if parser_context and "request" in parser_context:
            refuse_large(parser_context["request"], self.max_bytes)
        return read_limited(stream, self.max_bytes)


class AltTextParser(TextParser):
    """The names that clients gave YAML before RFC 9512."""

    media_type = "application/x-yaml"


class LimitedMultiPartParser(parsers.MultiPartParser):
    max_bytes = 12 * 1024 * 1024

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        refuse_large((parser_context or {})["request"], self.max_bytes + FORM_OVERHEAD)
        return super().parse(stream, media_type, parser_context)
