"""Use cases: which version may be used where."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.registry.models import UseCase
from tests.fixtures.pages import body, heading, page, signed_in
from tests.world import World, approve

pytestmark = pytest.mark.django_db
NEW = {"name": "Fraud", "slug": "fraud", "risk_tier": "2", "model_role": "assists"}
EDIT = {"name": "Claims", "risk_tier": "1", "model_role": "recommends", "row_version": "1"}


def test_a_use_case_says_what_it_may_use(client: Client, world: World) -> None:
    client.force_login(world.owner)
    url = "/use-cases/claims-triage/"
    assert heading(client, url) == "Claims triage may use no version now."
    approve(world)
    assert heading(client, url) == "Claims triage may use assistant-instant."


def test_the_list_counts_and_filters_by_tier(client: Client, world: World) -> None:
    world.another_use_case("kyc", risk_tier=3)
    client.force_login(world.auditor)
    assert "two use cases" in heading(client, "/use-cases/")
    assert "/use-cases/claims-triage/" not in page(client, "/use-cases/?tier=3")


def test_an_outsider_finds_no_use_case(world: World) -> None:
    assert signed_in(world.outsider).get("/use-cases/claims-triage/").status_code == 404


def test_an_auditor_changes_nothing(world: World) -> None:
    client = signed_in(world.auditor)
    text = page(client, "/use-cases/claims-triage/?edit=1")
    assert "Save" not in text
    assert "Request approval" not in text
    assert client.post("/use-cases/claims-triage/", EDIT).status_code == 403
    assert client.post("/use-cases/new/", NEW).status_code == 403
    assert UseCase.objects.count() == 1


def test_a_new_use_case_is_registered(client: Client, world: World) -> None:
    client.force_login(world.owner)
    answer = client.post("/use-cases/new/", NEW | {"regulations": "EU AI Act, , SR 11-7"})
    assert answer["Location"] == "/use-cases/fraud/"
    assert UseCase.objects.get(slug="fraud").regulations == ["EU AI Act", "SR 11-7"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"slug": "Not A Slug"}, "is no short name"),
        ({"slug": "claims-triage"}, "exists"),
        ({"risk_tier": "9"}, "Select a valid choice"),
        ({"name": ""}, "This field is required."),
    ],
)
def test_bad_input_comes_back_beside_what_was_typed(
    client: Client, world: World, changes: dict[str, str], error: str
) -> None:
    client.force_login(world.owner)
    answer = client.post("/use-cases/new/", NEW | {"process": "Theft desk"} | changes)
    assert error in body(answer)
    assert "Theft desk" in body(answer)
    assert UseCase.objects.count() == 1


def test_a_stale_form_says_so_and_keeps_what_was_typed(client: Client, world: World) -> None:
    client.force_login(world.owner)
    client.post("/use-cases/claims-triage/", EDIT)
    answer = client.post("/use-cases/claims-triage/", EDIT | {"name": "Claims of mine"})
    assert "Somebody else saved this" in body(answer)
    assert "Claims of mine" in body(answer)
    assert UseCase.objects.get().name == "Claims"


def test_an_owner_may_not_lower_the_tier(client: Client, world: World) -> None:
    client.force_login(world.owner)
    answer = client.post("/use-cases/claims-triage/", EDIT | {"risk_tier": "4"})
    assert "Your role does not allow this" in body(answer)
    assert UseCase.objects.get().risk_tier == 1
