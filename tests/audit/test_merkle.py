"""The tree against published vectors, a naive reading of RFC 9162, and properties."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The reference tree of Certificate Transparency (merkle_tree_test of the log implementation).
LEAVES = [
    bytes.fromhex(h)
    for h in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
leaf_hashes = st.lists(st.binary(max_size=8), min_size=1, max_size=70).map(
    lambda data: [leaf_hash(d) for d in data]
)


@lru_cache(maxsize=4096)
def naive_root(leaves: tuple[bytes, ...]) -> bytes:
    """MTH of RFC 9162 section 2.1.1, as written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


@pytest.mark.parametrize("size", range(1, 9))
def test_root_is_that_of_the_reference_tree(size: int) -> None:
    assert root_of(HASHES[:size]).hex() == ROOTS[size - 1]


def test_empty_tree_has_the_hash_of_nothing() -> None:
    assert root_of([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
)
def test_inclusion_path_is_the_published_one(index: int, size: int, path: list[str]) -> None:
    assert [p.hex() for p in inclusion_proof(HASHES[:size], index)] == path


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (8, 8, []),
    ],
)
def test_consistency_path_is_the_published_one(old: int, new: int, path: list[str]) -> None:
    assert [p.hex() for p in consistency_proof(HASHES[:new], old)] == path


@given(leaf_hashes)
def test_growing_leaf_by_leaf_gives_the_root_of_the_definition(leaves: list[bytes]) -> None:
    frontier = Frontier()
    for size, leaf in enumerate(leaves, start=1):
        frontier.append(leaf)
        assert frontier.root() == naive_root(tuple(leaves[:size]))
        assert len(frontier.peaks) == size.bit_count()


@given(leaf_hashes, st.data())
def test_growth_goes_on_from_a_stored_frontier(leaves: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(leaves)))
    first = Frontier()
    first.extend(leaves[:cut])
    second = Frontier(size=first.size, peaks=list(first.peaks))
    second.extend(leaves[cut:])
    assert second.root() == root_of(leaves)


@given(leaf_hashes, st.data())
def test_every_leaf_proves_its_inclusion(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    assert verify_inclusion(
        leaf=leaves[index], index=index, size=len(leaves), proof=proof, root=root_of(leaves)
    )


@given(leaf_hashes, st.data())
def test_a_forged_inclusion_fails(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    good = {
        "leaf": leaves[index],
        "index": index,
        "size": len(leaves),
        "proof": inclusion_proof(leaves, index),
        "root": root_of(leaves),
    }
    forged = leaf_hash(b"never written")
    proof = good["proof"]
    assert isinstance(proof, list)
    for change in (
        {"leaf": forged},
        {"root": forged},
        {"index": -1},
        {"index": len(leaves)},
        {"proof": [*proof, forged]},
        {"proof": [forged, *proof[1:]]} if proof else {"leaf": forged},
        {"proof": proof[:-1]} if proof else {"root": forged},
    ):
        assert not verify_inclusion(**{**good, **change})  # type: ignore[arg-type]


@settings(deadline=None)
@given(leaf_hashes, st.data())
def test_every_older_tree_proves_that_it_was_only_added_to(
    leaves: list[bytes], data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, len(leaves)))
    assert verify_consistency(
        old_size=old,
        new_size=len(leaves),
        old_root=root_of(leaves[:old]),
        new_root=root_of(leaves),
        proof=consistency_proof(leaves, old),
    )


@given(leaf_hashes.filter(lambda ls: len(ls) > 1), st.data())
def test_a_rewritten_past_has_no_consistency_proof(
    leaves: list[bytes], data: st.DataObject
) -> None:
    old = data.draw(st.integers(1, len(leaves) - 1))
    place = data.draw(st.integers(0, old - 1))
    rewritten = [*leaves]
    rewritten[place] = leaf_hash(b"never written")
    for proof in (consistency_proof(rewritten, old), consistency_proof(leaves, old), []):
        assert not verify_consistency(
            old_size=old,
            new_size=len(leaves),
            old_root=root_of(leaves[:old]),
            new_root=root_of(rewritten),
            proof=proof,
        )


@pytest.mark.parametrize("index", [-1, 8, 100])
def test_a_leaf_outside_the_tree_has_no_proof(index: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        inclusion_proof(HASHES, index)


@pytest.mark.parametrize("old", [0, -1, 9])
def test_a_tree_that_never_was_has_no_consistency_proof(old: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        consistency_proof(HASHES, old)


def test_a_leaf_must_be_a_hash() -> None:
    with pytest.raises(ValueError, match="32-byte"):
        Frontier().append(b"short")
