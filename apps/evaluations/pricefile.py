"""Price lists as people keep them: CSV with a header, or JSON (a list of objects).

    provider,model_name,currency,prompt_per_million,completion_per_million,cached_per_million,valid_from,valid_until,source

`cached_per_million`, `valid_until` and `source` may be left out. Days are ISO 8601; a day without a
time begins at 00:00 UTC. Pure Python: no database.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from apps.core.errors import InvalidInput
from apps.evaluations.prices import NewPrice

MAX_BYTES = 2 * 1024 * 1024
NEEDED = (
    "provider",
    "model_name",
    "currency",
    "prompt_per_million",
    "completion_per_million",
    "valid_from",
)
OPTIONAL = ("cached_per_million", "valid_until", "source")


def parse(content: bytes) -> list[NewPrice]:
    """The prices of a file. Raises InvalidInput with one problem a row that cannot be read."""
    if len(content) > MAX_BYTES:
        raise InvalidInput("A price list has at most 2 MB.", field="file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidInput("A price list is UTF-8 text: CSV or JSON.", field="file") from None
    rows = _json(text) if text.lstrip()[:1] in ("[", "{") else _csv(text)
    if not rows:
        raise InvalidInput("The price list holds no price.", field="file")
    return parse_rows(rows)


def parse_rows(rows: list[tuple[int, Mapping[str, Any]]]) -> list[NewPrice]:
    """(row number, fields) to prices. Raises InvalidInput naming row and field."""
    prices, problems = [], []
    for number, row in rows:
        try:
            prices.append(_price(number, row))
        except _Wrong as wrong:
            problems.append({"line": number, "path": wrong.field, "message": str(wrong)})
    if problems:
        first = problems[0]
        raise InvalidInput(
            f"Row {first['line']}, {first['path']}: {first['message']}",
            field="file",
            remedy=f"{len(problems)} of {len(rows)} rows cannot be read; nothing was recorded.",
            problems=problems,
        )
    return prices


class _Wrong(ValueError):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _json(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        document = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"The price list is not JSON: {str(error)[:200]}.", field="file"
        ) from None
    if isinstance(document, dict):
        document = document.get("prices")
    if not isinstance(document, list) or not all(isinstance(row, dict) for row in document):
        raise InvalidInput(
            'A price list in JSON is a list of objects, or {"prices": [...]}.', field="file"
        )
    return list(enumerate(document, start=1))


def _csv(text: str) -> list[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        names = [str(name).strip() for name in reader.fieldnames or []]
        reader.fieldnames = names
        lacking = [name for name in NEEDED if name not in names]
        if lacking:
            raise InvalidInput(
                f"The first line of the CSV must name its columns; {lacking[0]} is not among them.",
                field="file",
                remedy=f"Columns: {', '.join((*NEEDED, *OPTIONAL))}.",
            )
        return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InvalidInput(f"The price list is not CSV: {error}.", field="file") from None


def _price(number: int, row: Mapping[str, Any]) -> NewPrice:
    unknown = [str(name) for name in row if name not in NEEDED + OPTIONAL]
    if unknown:
        raise _Wrong(unknown[0][:60], "There is no such column.")

    def word(name: str) -> str:
        value = row.get(name)
        text = "" if value is None else str(value).strip()
        if not text and name in NEEDED:
            raise _Wrong(name, "This is empty.")
        if "\x00" in text:
            raise _Wrong(name, "Text may hold no NUL character.")
        return text

    def money(name: str) -> Decimal:
        try:
            value = Decimal(word(name))
        except InvalidOperation:
            raise _Wrong(name, f"'{word(name)[:40]}' is not a number such as 2.50.") from None
        if not value.is_finite():
            raise _Wrong(name, "This is not a finite number.")
        return value

    def moment(name: str) -> dt.datetime:
        try:
            value = dt.datetime.fromisoformat(word(name))
        except ValueError:
            raise _Wrong(name, f"'{word(name)[:40]}' is not a day such as 2026-11-25.") from None
        return value if value.tzinfo else value.replace(tzinfo=dt.UTC)

    return NewPrice(
        provider=word("provider"),
        model_name=word("model_name"),
        currency=word("currency"),
        prompt_per_million=money("prompt_per_million"),
        completion_per_million=money("completion_per_million"),
        cached_per_million=money("cached_per_million") if word("cached_per_million") else None,
        valid_from=moment("valid_from"),
        valid_until=moment("valid_until") if word("valid_until") else None,
        source=word("source")[:300],
        row=number,
    )
