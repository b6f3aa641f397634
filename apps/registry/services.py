"""Verbs of the registry, named here for callers: what can be approved, and approvals."""

from __future__ import annotations

from apps.registry.approvals import (
    approve_approval,
    carry_out,
    expire_due,
    hold_approval,
    reject_approval,
    release_approval,
    request_approval,
    revoke_approval,
    supersede_approval,
    suspend_approval,
    validate_approval,
)
from apps.registry.catalogue import (
    create_model,
    create_provider,
    create_use_case,
    create_version,
    update_provider,
    update_use_case,
)
from apps.registry.endpoints import create_endpoint, update_endpoint

__all__ = [
    "approve_approval",
    "carry_out",
    "create_endpoint",
    "create_model",
    "create_provider",
    "create_use_case",
    "create_version",
    "expire_due",
    "hold_approval",
    "reject_approval",
    "release_approval",
    "request_approval",
    "revoke_approval",
    "supersede_approval",
    "suspend_approval",
    "update_endpoint",
    "update_provider",
    "update_use_case",
    "validate_approval",
]
