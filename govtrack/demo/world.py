"""Northwind, the demo's bank: its people, its use case, its provider."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from apps.accounts.models import Role, User
from apps.accounts.services import create_first_admin, create_user
from apps.registry.models import ModelVersion, UseCase
from apps.registry.services import (
    create_endpoint,
    create_model,
    create_provider,
    create_use_case,
    create_version,
)

PEOPLE = (
    ("owner", "Olga Owner", Role.MODEL_OWNER),
    ("validator", "Viktor Validator", Role.VALIDATOR),
    ("lead", "Greta Lead", Role.GOVERNANCE_LEAD),
    ("auditor", "Aaron Auditor", Role.AUDITOR),
)


@dataclass
class World:
    people: dict[str, User]
    passwords: dict[str, str]
    version: ModelVersion
    use_case: UseCase


def build(*, base_url: str, model: str, api_key_env: str, own_model: bool) -> World:
    """Create everything through the same services that pages and API use."""
    passwords = {key: _password() for key in ("admin", *(p[0] for p in PEOPLE))}
    people = {
        "admin": create_first_admin(
            email="ada@northwind.example", display_name="Ada Admin", password=passwords["admin"]
        )
    }
    admin = people["admin"]
    for key, name, role in PEOPLE:
        people[key] = create_user(
            actor=admin,
            email=f"{name.split()[0].lower()}@northwind.example",
            display_name=name,
            password=passwords[key],
            roles=[role],
        )
    provider = create_provider(
        actor=admin,
        slug="own-provider" if own_model else "local-labs",
        name="Own provider" if own_model else "Local Labs",
        terms=""
        if own_model
        else "Serves Gemma 3 270M. Gemma is provided under and subject to the Gemma Terms of Use "
        "found at ai.google.dev/gemma/terms. A base model: it completes text.",
    )
    endpoint = create_endpoint(
        actor=admin,
        provider=provider,
        name="Chat completions",
        base_url=base_url,
        credential=f"env:{api_key_env}" if api_key_env else "",
        max_concurrency=4,
        allow_private_address=True,
    )
    family = create_model(
        actor=admin, provider=provider, name=model if own_model else "Assistant Instant"
    )
    version = create_version(
        actor=people["owner"],
        model=family,
        endpoint=endpoint,
        label=model,
        requested_name=model,
        pin_kind="alias",
        parameters={"temperature": 0.2},
        owner=people["owner"],
    )
    use_case = create_use_case(
        actor=people["owner"],
        slug="claims-triage",
        name="Claims triage",
        risk_tier=1,
        model_role="recommends",
        description="Routes incoming insurance claims and drafts the first reply.",
        process="Claims intake",
        owner=people["owner"],
        regulations=["EU AI Act, Annex III 5(c)"],
    )
    return World(people, passwords, version, use_case)


def _password() -> str:
    return f"demo-{secrets.token_urlsafe(9)}"
