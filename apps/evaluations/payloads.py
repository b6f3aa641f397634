"""Bytes by their content: stored once, compressed, never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import zstandard

from apps.evaluations.models import Payload

MAX_BYTES = 64 * 1024 * 1024


def digest_of(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def compressed(contents: Iterable[bytes]) -> list[bytes]:
    """As they are kept in `data`."""
    compress = zstandard.ZstdCompressor(level=3).compress
    return [compress(content) for content in contents]


def put_many(contents: Iterable[bytes]) -> None:
    """Store what is not there yet. Safe to call at once from many processes."""
    compress = zstandard.ZstdCompressor(level=3).compress
    rows = {
        digest: Payload(digest=digest, size=len(content), data=compress(content))
        for digest, content in ((digest_of(c), c) for c in contents)
    }
    # Sorted, so that two writers with the same payloads wait for each other in one direction.
    Payload.objects.bulk_create([rows[d] for d in sorted(rows)], ignore_conflicts=True)


def put(content: bytes) -> bytes:
    """Store one and return its digest."""
    put_many([content])
    return digest_of(content)


def get(digest: bytes | memoryview) -> bytes:
    """The content. Raises Payload.DoesNotExist, or ValueError when it is not what its name says."""
    row = Payload.objects.get(pk=bytes(digest))
    content = zstandard.ZstdDecompressor().decompress(
        bytes(row.data), max_output_size=min(row.size, MAX_BYTES)
    )
    if digest_of(content) != bytes(digest):
        raise ValueError(f"Payload {bytes(digest).hex()} does not match its digest.")
    return content
