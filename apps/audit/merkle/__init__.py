"""Merkle tree of RFC 9162 section 2.1, in pure Python: hashes, growth, proofs."""

from apps.audit.merkle.proofs import (
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from apps.audit.merkle.tree import EMPTY_ROOT, Frontier, leaf_hash, node_hash, root_of

__all__ = [
    "EMPTY_ROOT",
    "Frontier",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]
