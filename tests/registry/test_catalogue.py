"""Providers, endpoints, models, versions, use cases: what is taken, what is refused, and why."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import rfc8785
from django.db import connection

from apps.accounts.models import Role, RoleAssignment, Team
from apps.audit.models import AuditEvent
from apps.core.errors import Conflict, InvalidInput, NotAllowed, NotFound, StaleVersion
from apps.registry import selectors, services
from apps.registry.models import Endpoint, ModelVersion, Provider, UseCase
from tests.world import World, approve, person


def create_endpoint(world: World, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "actor": world.lead,
        "provider": world.provider,
        "name": "public",
        "base_url": "https://192.0.2.1/v1",
    }
    return services.create_endpoint(**values | changes)


@pytest.fixture(autouse=True)
def _no_look_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names stay unresolved here; what addresses may be called is tested with `core.outbound`."""
    import socket

    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **options: Any) -> Any:
        if str(host).endswith(".example"):
            raise socket.gaierror(socket.EAI_NONAME, "no look-up in tests")
        return real(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


# Who


def test_an_owner_registers_versions_and_use_cases_but_no_provider(world: World) -> None:
    assert world.another_version().owner == world.owner
    with pytest.raises(NotAllowed, match="administrator or governance lead"):
        services.create_provider(actor=world.owner, slug="acme", name="Acme")


@pytest.mark.parametrize("who", ["auditor", "outsider", "validator"])
def test_who_may_not_edit_creates_nothing(world: World, who: str) -> None:
    actor = getattr(world, who)
    before = UseCase.objects.count(), ModelVersion.objects.count(), Provider.objects.count()
    with pytest.raises(NotAllowed):
        world.another_use_case("mail", risk_tier=3, actor=actor)
    with pytest.raises(NotAllowed):
        world.another_version(actor=actor)
    with pytest.raises(NotAllowed):
        services.create_provider(actor=actor, slug="acme", name="Acme")
    with pytest.raises(NotAllowed):
        create_endpoint(world, actor=actor)
    after = UseCase.objects.count(), ModelVersion.objects.count(), Provider.objects.count()
    assert after == before


def test_a_team_s_owner_registers_for_that_team_only(world: World) -> None:
    claims, fraud = Team.objects.create(name="Claims"), Team.objects.create(name="Fraud")
    member = person("Mia", "Member")
    RoleAssignment.objects.create(user=member, role=Role.MODEL_OWNER, team=claims)
    use_case = world.another_use_case("payouts", risk_tier=2, actor=member, team=claims)
    for team in (fraud, None):
        with pytest.raises(NotAllowed, match="does not cover the team"):
            world.another_use_case("other", risk_tier=2, actor=member, team=team)
    with pytest.raises(NotAllowed):
        services.update_use_case(actor=member, use_case=use_case, team=fraud)
    assert list(selectors.use_cases(member)) == [use_case]
    assert world.use_case not in selectors.use_cases(member)


def test_a_team_s_lead_registers_no_provider_for_everybody(world: World) -> None:
    team = Team.objects.create(name="Claims")
    member = person("Mia", "Member")
    RoleAssignment.objects.create(user=member, role=Role.GOVERNANCE_LEAD, team=team)
    with pytest.raises(NotAllowed, match="whole organisation"):
        services.create_provider(actor=member, slug="acme", name="Acme")


# Names


@pytest.mark.parametrize(
    ("slug", "field"),
    [("", "slug"), ("Has Space", "slug"), ("ümlaut", "slug"), ("a" * 81, "slug"), ("a\n", None)],
)
def test_a_slug_is_short_and_plain(world: World, slug: str, field: str | None) -> None:
    if field is None:  # white space around it is taken off
        assert services.create_provider(actor=world.lead, slug=slug, name="Acme").slug == "a"
        return
    with pytest.raises(InvalidInput) as caught:
        services.create_provider(actor=world.lead, slug=slug, name="Acme")
    assert caught.value.field == field


def test_a_taken_name_is_a_conflict_that_names_the_field(world: World) -> None:
    with pytest.raises(Conflict, match="exists") as caught:
        services.create_provider(actor=world.lead, slug="local-labs", name="Other")
    assert caught.value.field == "slug"
    with pytest.raises(Conflict) as caught:
        services.create_provider(actor=world.lead, slug="other", name="Local Labs")
    assert caught.value.field == "name"
    with pytest.raises(Conflict):
        world.another_use_case("claims-triage", risk_tier=3)
    with pytest.raises(Conflict):
        services.create_model(actor=world.owner, provider=world.provider, name="Assistant")
    # The transaction of the caller goes on.
    assert services.create_provider(actor=world.lead, slug="other", name="Other")


# Versions


def test_the_hash_is_that_of_the_canonical_configuration(world: World) -> None:
    version = world.another_version(
        parameters={"top_p": 0.5, "temperature": 0.0},
        system_prompt="Be brief. ",
        tools=[{"type": "function", "function": {"name": "look_up"}}],
    )
    canonical = rfc8785.dumps(
        {
            "requested_name": "assistant-2026-01-01",
            "pin_kind": "snapshot",
            "parameters": {"temperature": 0, "top_p": 0.5},
            "system_prompt": "Be brief. ",
            "tools": [{"type": "function", "function": {"name": "look_up"}}],
            "api_style": "chat_completions",
        }
    )
    assert version.config_hash == "sha256:" + hashlib.sha256(canonical).hexdigest()


def test_the_same_configuration_is_not_registered_twice(world: World) -> None:
    world.another_version(parameters={"temperature": 0, "top_p": 1})
    with pytest.raises(Conflict, match="exactly this configuration"):
        world.another_version(
            label="another label",
            requested_name="assistant-2026-01-01",
            parameters={"top_p": 1.0, "temperature": 0.0},
        )


def test_white_space_in_a_system_prompt_is_another_configuration(world: World) -> None:
    first = world.another_version(system_prompt="Be brief.")
    second = world.another_version(
        "second", requested_name=first.requested_name, system_prompt="Be brief.\n"
    )
    assert first.config_hash != second.config_hash


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"temprature": 0}, "parameters.temprature"),
        ({"temperature": float("nan")}, "parameters.temperature"),
        ({"temperature": "0"}, "parameters.temperature"),
        ({"temperature": 3}, "parameters.temperature"),
        ({"top_p": -0.1}, "parameters.top_p"),
        ({"max_tokens": 0}, "parameters.max_tokens"),
        ({"max_tokens": 1.5}, "parameters.max_tokens"),
        ({"max_tokens": True}, "parameters.max_tokens"),
        ({"seed": 2**60}, "parameters.seed"),
        ({"logprobs": "yes"}, "parameters.logprobs"),
        ({"top_logprobs": 21}, "parameters.top_logprobs"),
        ({"stop": []}, "parameters.stop"),
        ({"stop": [""]}, "parameters.stop"),
        ({"stop": ["a\x00"]}, "parameters.stop[0]"),
        ({"extra_body": {"messages": []}}, "parameters.extra_body"),
        ({"extra_body": [1]}, "parameters.extra_body"),
        ({"extra_body": nested(40)}, "parameters"),
        ({"extra_body": {"a": "x" * 300_000}}, "parameters"),
        ({"extra_body": {"a": float("inf")}}, "parameters.extra_body.a"),
        ({"extra_body": {1: 2}}, "parameters.extra_body"),
        ({"response_format": {"a": {1, 2}}}, "parameters.response_format.a"),
        ([1], "parameters"),
        ("temperature=0", "parameters"),
    ],
)
def test_a_parameter_that_cannot_be_is_named(world: World, parameters: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        world.another_version(parameters=parameters)
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"requested_name": ""}, "requested_name"),
        ({"requested_name": "a" * 301}, "requested_name"),
        ({"pin_kind": "floating"}, "pin_kind"),
        ({"label": " ", "requested_name": "assistant"}, "label"),
        ({"system_prompt": "a\x00"}, "system_prompt"),
        ({"system_prompt": "\ud800"}, "system_prompt"),
        ({"tools": {"a": 1}}, "tools"),
        ({"tools": ["a"]}, "tools"),
    ],
)
def test_a_version_that_cannot_be_is_refused_with_its_field(
    world: World, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        world.another_version(**change)
    assert caught.value.field == field


def test_an_endpoint_of_another_provider_cannot_serve_the_model(world: World) -> None:
    other = services.create_provider(actor=world.lead, slug="acme", name="Acme")
    endpoint = create_endpoint(world, provider=other, base_url="https://api.acme.example/v1")
    with pytest.raises(InvalidInput, match="not an endpoint of"):
        world.another_version(endpoint=endpoint)


def test_an_owner_who_left_cannot_be_given_a_version(world: World) -> None:
    world.outsider.is_active = False
    with pytest.raises(InvalidInput, match="active person"):
        world.another_version(owner=world.outsider)


# Endpoints


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.acme.example/v1",
        "ftp://api.acme.example/v1",
        "file:///etc/passwd",
        "https:///v1",
        "https://user:pass@api.acme.example/v1",
        "https://api.acme.example/v1?key=1",
        "https://api.acme.example/v1#top",
        "https://api.acme.example:99999/v1",
        "https://api.acme example/v1",
        "https://" + "a" * 500 + ".example",
        "http://127.0.0.1:8080/v1",
        "http://localhost/v1",
        "http://[::1]/v1",
        "http://[::ffff:127.0.0.1]/v1",
        "http://2130706433/v1",
        "http://127.1/v1",
        "http://10.0.0.1/v1",
        "http://169.254.169.254/latest",
    ],
)
def test_an_address_that_must_not_be_called_is_refused(world: World, url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        create_endpoint(world, base_url=url)
    assert caught.value.field == "base_url"
    assert not Endpoint.objects.filter(name="public").exists()


def test_only_an_administrator_allows_private_addresses(world: World) -> None:
    private = {"base_url": "http://127.0.0.1:8080/v1", "allow_private_address": True}
    with pytest.raises(NotAllowed, match="Only an administrator"):
        create_endpoint(world, **private)
    assert create_endpoint(world, actor=world.admin, **private).allow_private_address


def test_the_metadata_service_is_refused_even_to_an_administrator(world: World) -> None:
    with pytest.raises(InvalidInput):
        create_endpoint(
            world,
            actor=world.admin,
            base_url="http://169.254.169.254/v1",
            allow_private_address=True,
        )


def test_a_lead_cannot_move_a_private_endpoint_to_another_private_address(world: World) -> None:
    with pytest.raises(NotAllowed, match="Only an administrator"):
        services.update_endpoint(
            actor=world.lead, endpoint=world.endpoint, base_url="http://127.0.0.1:22/v1"
        )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"api_style": "soap"}, "api_style"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"max_concurrency": 2.5}, "max_concurrency"),
        ({"requests_per_minute": -1}, "requests_per_minute"),
        ({"timeout_seconds": 10**9}, "timeout_seconds"),
        ({"allow_private_address": "yes"}, "allow_private_address"),
        ({"name": ""}, "name"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_with_its_field(
    world: World, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        create_endpoint(world, base_url="https://api.acme.example/v1", **change)
    assert caught.value.field == field


def test_an_unknown_key_of_a_change_is_refused(world: World) -> None:
    with pytest.raises(InvalidInput, match="unknown key 'colour'"):
        services.update_endpoint(actor=world.admin, endpoint=world.endpoint, colour="red")


def test_a_change_is_recorded_with_before_and_after(world: World) -> None:
    changed = services.update_endpoint(
        actor=world.lead, endpoint=world.endpoint, row_version=1, max_concurrency=2
    )
    assert (changed.max_concurrency, changed.row_version) == (2, 2)
    entry = AuditEvent.objects.get(action="registry.endpoint_updated")
    assert '"max_concurrency":[4,2]' in entry.body


def test_a_change_that_changes_nothing_writes_nothing(world: World) -> None:
    services.update_endpoint(actor=world.lead, endpoint=world.endpoint, max_concurrency=4)
    assert not AuditEvent.objects.filter(action="registry.endpoint_updated").exists()


def test_what_was_approved_at_an_address_is_not_moved_to_another(world: World) -> None:
    approval = approve(world)
    with pytest.raises(Conflict, match="assistant-instant is approved") as caught:
        services.update_endpoint(
            actor=world.admin, endpoint=world.endpoint, base_url="http://127.0.0.1:10/v1"
        )
    assert caught.value.field == "base_url"
    assert "new endpoint" in caught.value.remedy
    # The address as it is, and what does not change who answers, may be sent.
    services.update_endpoint(
        actor=world.admin,
        endpoint=world.endpoint,
        base_url=f"{world.endpoint.base_url}/",
        max_concurrency=2,
    )
    services.revoke_approval(actor=world.lead, approval=approval, reason="No longer used.")
    moved = services.update_endpoint(
        actor=world.admin, endpoint=world.endpoint, base_url="http://127.0.0.1:10/v1"
    )
    assert moved.base_url.endswith(":10/v1")


def test_a_stale_form_overwrites_nothing(world: World) -> None:
    services.update_use_case(actor=world.owner, use_case=world.use_case, process="Motor claims")
    with pytest.raises(StaleVersion):
        services.update_use_case(
            actor=world.owner, use_case=world.use_case, row_version=1, process="Home claims"
        )
    world.use_case.refresh_from_db()
    assert world.use_case.process == "Motor claims"


# Use cases


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"risk_tier": 0}, "risk_tier"),
        ({"risk_tier": 5}, "risk_tier"),
        ({"risk_tier": "1"}, "risk_tier"),
        ({"model_role": "rules"}, "model_role"),
        ({"regulations": "SR 11-7"}, "regulations"),
        ({"regulations": [7]}, "regulations"),
        ({"gate_fails_open": 1}, "gate_fails_open"),
        ({"name": "a" * 201}, "name"),
    ],
)
def test_a_use_case_that_cannot_be_is_refused_with_its_field(
    world: World, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        world.another_use_case("mail", **{"risk_tier": 3} | change)
    assert caught.value.field == field


@pytest.mark.parametrize("change", [{"risk_tier": 4}, {"gate_fails_open": True}])
def test_an_owner_cannot_loosen_what_governs_the_use(world: World, change: dict[str, Any]) -> None:
    with pytest.raises(NotAllowed):
        services.update_use_case(actor=world.owner, use_case=world.use_case, **change)
    services.update_use_case(actor=world.lead, use_case=world.use_case, **change)
    world.use_case.refresh_from_db()
    assert all(getattr(world.use_case, k) == v for k, v in change.items())


def test_an_outsider_cannot_even_see_a_use_case(world: World) -> None:
    with pytest.raises(NotFound):
        services.update_use_case(actor=world.outsider, use_case=world.use_case, process="x")
    assert not selectors.use_cases(world.outsider).exists()
    assert not selectors.providers(world.outsider).exists()
    assert not selectors.endpoints(world.outsider).exists()
    assert not selectors.models(world.outsider).exists()


def test_the_database_refuses_a_tier_that_no_service_checked(world: World) -> None:
    from django.db import IntegrityError, transaction

    with (
        pytest.raises(IntegrityError, match="use_case_tier_1_to_4"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE registry_usecase SET risk_tier = 5")
