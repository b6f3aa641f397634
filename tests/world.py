"""The small believable world of all tests: Northwind, a bank, and its claims assistant.

Olga owns the model and the use case, Viktor validates, Greta and Henrik lead governance, Aaron
audits (reads only), Ada administers, and Otto has an account but no role.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
from django.contrib.auth.hashers import get_hasher, make_password

from apps.accounts.models import Role, RoleAssignment, User
from apps.evaluations.models import Suite, SuiteRevision
from apps.registry import services
from apps.registry.models import AIModel, Approval, Endpoint, ModelVersion, Provider, UseCase

PASSWORD = "Correct-Horse-7-Battery"
ASSUMPTIONS: list[dict[str, Any]] = [
    {
        "code": "A1",
        "sentence": "Sorts claims correctly in at least 80 % of cases.",
        "suite_slug": "claims-triage",
        "metric_key": "accuracy",
        "comparator": "gte",
        "threshold": 0.8,
        "tolerance": 0.02,
        "criticality": "high",
    },
    {
        "code": "A2",
        "sentence": "Answers in one short line.",
        "suite_slug": "claims-style",
        "metric_key": "style.words",
        "comparator": "lte",
        "threshold": 40,
        "tolerance": 0,
        "criticality": "medium",
    },
    {
        "code": "A3",
        "sentence": "Hardly ever fails to answer.",
        "suite_slug": "claims-triage",
        "metric_key": "outcome.error",
        "comparator": "lte",
        "threshold": 0.05,
        "tolerance": 0,
        "criticality": "low",
    },
]


@lru_cache(maxsize=4)
def _hashed(hasher: str) -> str:
    """Hashing is slow on purpose: once for a process and hasher is enough."""
    return make_password(PASSWORD, hasher=hasher)


def person(first: str, last: str, role: Role | None = None, **fields: Any) -> User:
    """An account at Northwind. `role` is organisation-wide."""
    email = f"{first}.{last}@northwind.example".lower()
    user = User.objects.create(
        username=email,
        email=email,
        display_name=f"{first} {last}",
        password=_hashed(get_hasher().algorithm),
        **fields,
    )
    if role is not None:
        RoleAssignment.objects.create(user=user, role=role)
    return user


def store_suites() -> None:
    """The suites that ASSUMPTIONS name, where none of that name is stored yet."""
    for slug in {a["suite_slug"] for a in ASSUMPTIONS}:
        suite, fresh = Suite.objects.get_or_create(slug=slug, defaults={"name": slug})
        if fresh:
            SuiteRevision.objects.create(
                suite=suite,
                number=1,
                content_hash=f"sha256:{hashlib.sha256(slug.encode()).hexdigest()}",
                document={
                    **dict.fromkeys(("slug", "name", "summary", "not_measured"), "claims-triage"),
                    "license": "CC0-1.0",
                    "source": "tests",
                    "personal_data": False,
                    "scorers": [{"key": "kind", "type": "exact"}],
                    "metrics": [
                        {
                            "key": "accuracy",
                            "label": "Accuracy",
                            "scorer": "kind",
                            "direction": "higher",
                            "margin": 0.05,
                        }
                    ],
                },
                case_count=0,
            )


@dataclass
class World:
    owner: User
    validator: User
    lead: User
    second_lead: User
    auditor: User
    admin: User
    outsider: User
    provider: Provider
    endpoint: Endpoint
    model: AIModel
    version: ModelVersion
    use_case: UseCase
    bank: str = "Northwind"
    password: str = PASSWORD

    @property
    def people(self) -> list[User]:
        return [
            self.owner,
            self.validator,
            self.lead,
            self.second_lead,
            self.auditor,
            self.admin,
            self.outsider,
        ]

    def request(self, **changes: Any) -> Approval:
        """Olga asks for the version to be approved for the use case."""
        store_suites()
        values: dict[str, Any] = {
            "actor": self.owner,
            "use_case": self.use_case,
            "model_version": self.version,
            "rationale": "As good as the present one on our suite, and cheaper.",
            "assumptions": ASSUMPTIONS,
        }
        return services.request_approval(**values | changes)

    def another_version(self, label: str = "assistant-2026-01-01", **changes: Any) -> ModelVersion:
        values: dict[str, Any] = {
            "actor": self.owner,
            "model": self.model,
            "endpoint": self.endpoint,
            "label": label,
            "requested_name": label,
            "pin_kind": "snapshot",
        }
        return services.create_version(**values | changes)

    def another_use_case(self, slug: str, *, risk_tier: int, **changes: Any) -> UseCase:
        values: dict[str, Any] = {
            "actor": self.owner,
            "slug": slug,
            "name": slug.replace("-", " ").capitalize(),
            "risk_tier": risk_tier,
            "model_role": "assists",
        }
        return services.create_use_case(**values | changes)


def build_world() -> World:
    admin = person("Ada", "Admin", Role.ADMINISTRATOR)
    owner = person("Olga", "Owner", Role.MODEL_OWNER)
    lead = person("Greta", "Lead", Role.GOVERNANCE_LEAD)
    provider = services.create_provider(
        actor=admin,
        slug="local-labs",
        name="Local Labs",
        website="https://local-labs.example",
        terms="Gemma Terms of Use.",
    )
    endpoint = services.create_endpoint(
        actor=admin,
        provider=provider,
        name="loopback",
        base_url="http://127.0.0.1:9/v1",
        allow_private_address=True,
    )
    model = services.create_model(actor=owner, provider=provider, name="Assistant")
    version = services.create_version(
        actor=owner,
        model=model,
        endpoint=endpoint,
        label="assistant-instant",
        requested_name="assistant-instant",
        pin_kind="alias",
        parameters={"temperature": 0, "seed": 7, "max_tokens": 64},
    )
    use_case = services.create_use_case(
        actor=owner,
        slug="claims-triage",
        name="Claims triage",
        risk_tier=1,
        model_role="recommends",
        description="Sorts incoming claims by urgency before a person reads them.",
        process="Claims",
        regulations=["EU AI Act", "SR 11-7"],
    )
    return World(
        owner=owner,
        validator=person("Viktor", "Validator", Role.VALIDATOR),
        lead=lead,
        second_lead=person("Henrik", "Lead", Role.GOVERNANCE_LEAD),
        auditor=person("Aaron", "Auditor", Role.AUDITOR),
        admin=admin,
        outsider=person("Otto", "Outsider"),
        provider=provider,
        endpoint=endpoint,
        model=model,
        version=version,
        use_case=use_case,
    )


def approve(
    world: World,
    *,
    use_case: UseCase | None = None,
    version: ModelVersion | None = None,
    conditions: str = "",
    expires_at: dt.datetime | None = None,
    assumptions: list[dict[str, Any]] | None = None,
) -> Approval:
    """Requested by Olga, validated by Viktor, approved by Greta: in force."""
    approval = world.request(
        use_case=use_case or world.use_case,
        model_version=version or world.version,
        conditions=conditions,
        expires_at=expires_at,
        assumptions=assumptions or ASSUMPTIONS,
    )
    services.validate_approval(actor=world.validator, approval=approval)
    return services.approve_approval(actor=world.lead, approval=approval)


@pytest.fixture
def world(db: None) -> World:
    return build_world()
