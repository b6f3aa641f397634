"""The images of a suite: found beside it or inside it, and held against their hash."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from pathlib import Path as FilePath
from typing import Any

from apps.evaluations.suitefile.errors import Finding
from apps.evaluations.suitefile.schema import MAX_IMAGE_BYTES

_BEGINNINGS = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/gif": b"GIF8",
    "image/webp": b"RIFF",
}


def read_beside(folder: FilePath, name: str) -> bytes | None:
    """A file under the suite's folder, None where there is none. What leads outside is None."""
    root = folder.resolve()
    place = (root / name).resolve()
    if not place.is_relative_to(root) or not place.is_file():
        return None
    with place.open("rb") as file:
        return file.read(MAX_IMAGE_BYTES + 1)


def collect(
    entries: list[dict[str, Any]], files: Callable[[str], bytes | None] | None
) -> tuple[dict[str, bytes], list[Finding]]:
    """The bytes that came with the suite, by SHA-256, and what is wrong with them.

    An entry without 'file' and 'data' is no problem here: its image may be stored already.
    """
    found: dict[str, bytes] = {}
    wrong: list[Finding] = []
    for index, entry in enumerate(entries):
        path = ("images", index)
        try:
            content = _content(entry, files)
        except ValueError as error:
            wrong.append(Finding((*path, "data" if "data" in entry else "file"), str(error)))
            continue
        if content is None:
            continue
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry["sha256"]:
            wrong.append(
                Finding(
                    (*path, "sha256"),
                    f"These bytes have the SHA-256 {digest}. Write that, or bring the right file.",
                )
            )
        elif not content.startswith(_BEGINNINGS[entry["media_type"]]):
            wrong.append(
                Finding(
                    (*path, "media_type"),
                    f"The bytes do not begin like {entry['media_type']}. Correct the type.",
                )
            )
        else:
            found[digest] = content
    return found, wrong


def _content(entry: dict[str, Any], files: Callable[[str], bytes | None] | None) -> bytes | None:
    """Raises ValueError with a sentence."""
    if "data" in entry:
        try:
            content = base64.b64decode(entry["data"], validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("This is not base64. Write the image's bytes as base64.") from None
    elif "file" in entry and files is not None:
        read = files(entry["file"])
        if read is None:
            raise ValueError(
                f"There is no file '{entry['file'][:80]}' beside the suite. Add it, or correct "
                "the path."
            )
        content = read
    else:
        return None
    if len(content) > MAX_IMAGE_BYTES:
        raise ValueError(f"An image may have {MAX_IMAGE_BYTES // 1048576} MB. Make it smaller.")
    return content
