"""Verbs on what can be approved: providers, endpoints, models, versions, use cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import transaction

from apps.accounts.models import Team, User
from apps.accounts.permissions import require
from apps.audit.services import record
from apps.core.errors import InvalidInput
from apps.core.inputs import choice, flag, integer, known_keys, slug, text
from apps.registry.configuration import checked_parameters, checked_tools, config_hash
from apps.registry.models import AIModel, Endpoint, ModelVersion, Provider, UseCase
from apps.registry.rows import apply, insert, locked, require_everywhere, require_for_team

WEB = URLValidator(schemes=["http", "https"])
GOVERNED = ("risk_tier", "gate_fails_open")


def _website(value: Any) -> str:
    website = text(value, "website", required=False, most=200)
    try:
        if website:
            WEB(website)
    except ValidationError:
        raise InvalidInput(
            "This is not a web address.", field="website", remedy="E.g. https://example.com."
        ) from None
    return website


def _owner(owner: User | None, actor: Any) -> User:
    found: User = owner or actor
    if not isinstance(found, User) or not found.is_active:
        raise InvalidInput(
            "The owner must be an active person.", field="owner", remedy="Choose another owner."
        )
    return found


@transaction.atomic
def create_provider(
    *, actor: Any, slug: str, name: str, website: str = "", terms: str = ""
) -> Provider:
    """Raises NotAllowed, InvalidInput, or Conflict when the name or slug is taken."""
    require_everywhere(actor, "registry.edit_provider")
    values = _provider_values({"slug": slug, "name": name, "website": website, "terms": terms})
    provider = insert(Provider(**values), "A provider with this name or slug exists.")
    record(
        "registry.provider_created",
        actor=actor,
        obj=provider,
        summary=f"{actor.name} registered the provider {provider}.",
        changes=values,
    )
    return provider


def _provider_values(given: Mapping[str, Any]) -> dict[str, Any]:
    check = {
        "slug": lambda v: slug(v),
        "name": lambda v: text(v, "name", most=200),
        "website": _website,
        "terms": lambda v: text(v, "terms", required=False),
    }
    known_keys(given, check, "provider")
    return {key: check[key](value) for key, value in given.items()}


@transaction.atomic
def update_provider(
    *, actor: Any, provider: Provider, row_version: int | None = None, **changes: Any
) -> Provider:
    """Raises NotAllowed, InvalidInput, Conflict (name taken) or StaleVersion."""
    require_everywhere(actor, "registry.edit_provider")
    values = _provider_values(changes)
    row = locked(Provider, provider, row_version)
    if changed := apply(row, values, "A provider with this name or slug exists."):
        record(
            "registry.provider_updated",
            actor=actor,
            obj=row,
            summary=f"{actor.name} changed {', '.join(changed)} of the provider {row}.",
            changes=changed,
        )
    return row


@transaction.atomic
def create_model(*, actor: Any, provider: Provider, name: str, description: str = "") -> AIModel:
    """Raises NotAllowed, InvalidInput, or Conflict when the provider has that model."""
    require(actor, "registry.edit_version")
    values = {
        "name": text(name, "name", most=200),
        "description": text(description, "description", required=False),
    }
    model = insert(
        AIModel(provider=provider, **values), f"{provider} has a model “{values['name']}”."
    )
    record(
        "registry.model_created",
        actor=actor,
        obj=model,
        summary=f"{actor.name} registered the model {model} of {provider}.",
        changes=values | {"provider": provider},
    )
    return model


@transaction.atomic
def create_version(
    *,
    actor: Any,
    model: AIModel,
    endpoint: Endpoint,
    label: str,
    requested_name: str,
    pin_kind: str,
    parameters: Mapping[str, Any] | None = None,
    system_prompt: str = "",
    tools: Sequence[Mapping[str, Any]] | None = None,
    owner: User | None = None,
    team: Team | None = None,
) -> ModelVersion:
    """Register one exact request configuration; it can never be changed afterwards.

    Raises NotAllowed, InvalidInput, or Conflict when this endpoint has the same configuration.
    """
    require_for_team(actor, "registry.edit_version", team)
    if endpoint.provider_id != model.provider_id:
        raise InvalidInput(
            f"{endpoint} is not an endpoint of {model}'s provider.",
            field="endpoint",
            remedy="Choose an endpoint of the same provider.",
        )
    config: dict[str, Any] = {
        "requested_name": text(requested_name, "requested_name", most=300),
        "pin_kind": choice(pin_kind, "pin_kind", ModelVersion.PinKind),
        "parameters": checked_parameters(parameters),
        "system_prompt": _prompt(system_prompt),
        "tools": checked_tools(tools),
    }
    digest = config_hash(**config, api_style=endpoint.api_style)
    twin = ModelVersion.objects.filter(endpoint=endpoint, config_hash=digest).first()
    version = insert(
        ModelVersion(
            model=model,
            endpoint=endpoint,
            label=text(label, "label", most=200),
            config_hash=digest,
            owner=_owner(owner, actor),
            team=team,
            **config,
        ),
        f"The version “{twin or requested_name}” has exactly this configuration.",
        field="requested_name",
    )
    record(
        "registry.version_created",
        actor=actor,
        obj=version,
        summary=f"{actor.name} registered {version} ({version.requested_name}) at {endpoint}.",
        changes=config
        | {"config_hash": digest, "endpoint": endpoint, "owner": version.owner, "team": team},
    )
    return version


def _prompt(value: Any) -> str:
    """Checked, but kept to the letter: white space at its ends reaches the model."""
    text(value, "system_prompt", required=False, most=100_000)
    return value or ""


@transaction.atomic
def create_use_case(
    *,
    actor: Any,
    slug: str,
    name: str,
    risk_tier: int,
    model_role: str,
    description: str = "",
    process: str = "",
    owner: User | None = None,
    team: Team | None = None,
    regulations: Iterable[str] = (),
    gate_fails_open: bool = False,
) -> UseCase:
    """Raises NotAllowed, InvalidInput, or Conflict when the name or slug is taken."""
    require_for_team(actor, "registry.edit_use_case", team)
    values = _use_case_values(
        {
            "slug": slug,
            "name": name,
            "risk_tier": risk_tier,
            "model_role": model_role,
            "description": description,
            "process": process,
            "regulations": regulations,
            "gate_fails_open": gate_fails_open,
            "owner": _owner(owner, actor),
            "team": team,
        }
    )
    use_case = insert(UseCase(**values), "A use case with this name or slug exists.")
    record(
        "registry.use_case_created",
        actor=actor,
        obj=use_case,
        summary=f"{actor.name} registered the use case {use_case} (tier {use_case.risk_tier}).",
        changes=values,
    )
    return use_case


def _use_case_values(given: Mapping[str, Any]) -> dict[str, Any]:
    check = {
        "slug": lambda v: slug(v),
        "name": lambda v: text(v, "name", most=200),
        "risk_tier": lambda v: integer(v, "risk_tier", least=1, most=4),
        "model_role": lambda v: choice(v, "model_role", UseCase.ModelRole),
        "description": lambda v: text(v, "description", required=False),
        "process": lambda v: text(v, "process", required=False, most=200),
        "regulations": _regulations,
        "gate_fails_open": lambda v: flag(v, "gate_fails_open"),
        "owner": lambda v: _owner(v, None),
        "team": lambda v: v,
    }
    known_keys(given, check, "use_case")
    return {key: check[key](value) for key, value in given.items()}


def _regulations(value: Any) -> list[str]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInput(
            "“regulations” must be a list of names.",
            field="regulations",
            remedy='E.g. ["EU AI Act", "SR 11-7"].',
        )
    return [text(v, "regulations", most=120) for v in value]


@transaction.atomic
def update_use_case(
    *, actor: Any, use_case: UseCase, row_version: int | None = None, **changes: Any
) -> UseCase:
    """Change a use case; tier and gate need a governance lead.

    Raises NotAllowed, NotFound, InvalidInput, Conflict (name taken) or StaleVersion.
    """
    require(actor, "registry.edit_use_case", use_case)
    values = _use_case_values(changes)
    row = locked(UseCase, use_case, row_version)
    require(actor, "registry.edit_use_case", row)
    if "team" in values:
        require_for_team(actor, "registry.edit_use_case", values["team"])
    if any(key in values and values[key] != getattr(row, key) for key in GOVERNED):
        # A lower tier asks for fewer people: owners cannot grant themselves that.
        require(actor, "policy.edit", row)
    if changed := apply(row, values, "A use case with this name or slug exists."):
        record(
            "registry.use_case_updated",
            actor=actor,
            obj=row,
            summary=f"{actor.name} changed {', '.join(changed)} of the use case {row}.",
            changes=changed,
        )
    return row
