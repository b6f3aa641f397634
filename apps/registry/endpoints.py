"""Verbs on endpoints: where a provider serves, and with which credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction

from apps.accounts.permissions import can
from apps.audit.services import record
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.core.inputs import choice, flag, integer, known_keys, text
from apps.core.outbound import check_url
from apps.registry import credentials
from apps.registry.lifecycle import LIVE
from apps.registry.models import Approval, Endpoint, Provider
from apps.registry.rows import apply, insert, locked, require_everywhere, stale

NUMBERS = {  # least, most, may be empty
    "max_concurrency": (1, 1_000, False),
    "requests_per_minute": (1, 10_000_000, True),
    "tokens_per_minute": (1, 2_000_000_000, True),
    "timeout_seconds": (1, 3_600, False),
}


def create_endpoint(
    *,
    actor: Any,
    provider: Provider,
    name: str,
    base_url: str,
    api_style: str = "chat_completions",
    credential: str = "",
    region: str = "",
    max_concurrency: int = 4,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    timeout_seconds: int = 60,
    allow_private_address: bool = False,
) -> Endpoint:
    """Register where a provider serves.

    Raises NotAllowed (also for a private address without that permission), InvalidInput for an
    address, credential or limit that cannot be used, Conflict when the name is taken.
    """
    require_everywhere(actor, "registry.edit_provider")
    values = _endpoint_values(
        {
            "name": name,
            "base_url": base_url,
            "api_style": api_style,
            "region": region,
            "max_concurrency": max_concurrency,
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "timeout_seconds": timeout_seconds,
            "allow_private_address": allow_private_address,
        }
    )
    reference, ciphertext = credentials.split(credential)
    # Looks the name up, so before the transaction.
    _check_address(actor, values["base_url"], values["allow_private_address"])
    with transaction.atomic():
        endpoint = insert(
            Endpoint(
                provider=provider,
                credential_ref=reference,
                credential_ciphertext=ciphertext,
                **values,
            ),
            f"{provider} has an endpoint “{values['name']}”.",
        )
        record(
            "registry.endpoint_created",
            actor=actor,
            obj=endpoint,
            summary=f"{actor.name} registered the endpoint {endpoint} at {endpoint.base_url}.",
            changes=values | {"credential": "set" if credential else "none"},
        )
    return endpoint


def update_endpoint(
    *, actor: Any, endpoint: Endpoint, row_version: int | None = None, **changes: Any
) -> Endpoint:
    """Change an endpoint. `credential` replaces the stored one ("" removes it).

    A new host needs the credential again: else whoever may edit an address could have a secret
    that they never saw sent to a machine of theirs. What was approved is what answers at this
    address, so address and API style stay while an approval of a version here is in force.
    Raises as `create_endpoint`, StaleVersion, or Conflict (base_url, api_style).
    """
    require_everywhere(actor, "registry.edit_provider")
    credential = changes.pop("credential", None)
    values = _endpoint_values(changes)
    stored: dict[str, Any] = {}
    if credential is not None:
        reference, ciphertext = credentials.split(credential)
        stored = {"credential_ref": reference, "credential_ciphertext": ciphertext}
    url = values.get("base_url", endpoint.base_url)
    private = values.get("allow_private_address", endpoint.allow_private_address)
    if (url, private) != _address(endpoint):
        _check_address(actor, url, private)
    with transaction.atomic():
        row = locked(Endpoint, endpoint, row_version)
        if _address(row) != _address(endpoint):
            raise stale("the address")
        _require_no_approved_version(row, values)
        has_credential = bool(row.credential_ref or row.credential_ciphertext)
        if has_credential and credential is None and _origin(url) != _origin(row.base_url):
            raise InvalidInput(
                "The stored credential belongs to the old address.",
                field="credential",
                remedy="Enter the credential for the new address (or an empty one) as well.",
            )
        changed = apply(row, values | stored, "This provider has an endpoint with that name.")
        if {k: changed.pop(k) for k in stored if k in changed}:
            changed["credential"] = "changed"
        if changed:
            record(
                "registry.endpoint_updated",
                actor=actor,
                obj=row,
                summary=f"{actor.name} changed {', '.join(changed)} of the endpoint {row} "
                f"({row.versions.count()} model versions are served there).",
                changes=changed,
            )
    return row


def _require_no_approved_version(row: Endpoint, values: Mapping[str, Any]) -> None:
    moved = [k for k in ("base_url", "api_style") if k in values and values[k] != getattr(row, k)]
    if not moved:
        return
    live = Approval.objects.filter(model_version__endpoint=row, state__in=LIVE)
    labels = sorted(set(live.values_list("model_version__label", flat=True)))
    if labels:
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        raise Conflict(
            f"{labels[0]}{more} {'are' if more else 'is'} approved as served here.",
            field=moved[0],
            remedy="Register a new endpoint and a model version that calls it, and ask for its "
            "approval; or end the approvals first.",
            code="endpoint_in_use",
        )


def _address(endpoint: Endpoint) -> tuple[str, bool]:
    return endpoint.base_url, endpoint.allow_private_address


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _check_address(actor: Any, url: str, allow_private: bool) -> None:
    if allow_private and not can(actor, "registry.allow_private_address", Endpoint()):
        raise NotAllowed(
            "Only an administrator may allow loopback and private addresses.",
            field="allow_private_address",
            remedy="Use a public address, or ask an administrator to register the endpoint.",
        )
    check_url(url, allow_private=allow_private)


def _endpoint_values(given: Mapping[str, Any]) -> dict[str, Any]:
    texts = ("name", "base_url", "api_style", "region")
    flags = ("allow_private_address", "active")
    known_keys(given, (*texts, *flags, *NUMBERS), "endpoint")
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key in NUMBERS:
            least, most, optional = NUMBERS[key]
            values[key] = integer(value, key, least=least, most=most, optional=optional)
        elif key in flags:
            values[key] = flag(value, key)
        elif key == "api_style":
            values[key] = choice(value, key, Endpoint.ApiStyle)
        elif key == "base_url":
            values[key] = text(value, key, most=500).rstrip("/")
        else:
            values[key] = text(
                value, key, required=key == "name", most=80 if key == "region" else 200
            )
    return values
