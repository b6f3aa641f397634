"""From bytes to text that can be stored, or the place of what cannot."""

from __future__ import annotations

import re

from apps.evaluations.suitefile.errors import Problem, SuiteError

MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_CASES_BYTES = 100 * 1024 * 1024
"""A cases.jsonl beside a suite.yaml on this machine; an upload has its own, smaller limit."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


def whole(file: str, message: str) -> SuiteError:
    """A problem of the whole file."""
    return SuiteError([Problem(file, 0, 0, "", message)])


def too_large(file: str, limit: int) -> SuiteError:
    size = limit // (1024 * 1024)
    return whole(file, f"The file is larger than {size} MB. Split the suite into several.")


def decode(data: bytes, file: str, *, line: int = 1, byte: int = 0) -> str:
    """The text of a file, or of its part that begins in `line` at `byte`. Raises SuiteError."""
    if byte == 0 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise whole(file, "The file is UTF-16 (see byte 0). Save it as UTF-8.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        column = error.start - data.rfind(b"\n", 0, error.start)
        wrong = f"byte {byte + error.start} (0x{data[error.start]:02x})"
        message = f"Not UTF-8 at {wrong}. Save it as UTF-8."
        raise SuiteError([Problem(file, at, column, "", message)]) from None
    if byte == 0:
        text = text.removeprefix("\ufeff")
    control = _CONTROL.search(text)
    if control:
        position = control.start()
        at = line + text.count("\n", 0, position)
        name = "NUL" if control.group() == "\0" else f"control (U+{ord(control.group()):04X})"
        message = f"The file holds a {name} character, which cannot be stored. Remove it."
        column = position - text.rfind("\n", 0, position)
        raise SuiteError([Problem(file, at, column, "", message)])
    return text
