"""Long iterables in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batched(values: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size`, the last one shorter. (`itertools.batched` came with Python 3.12.)"""
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch
