"""Versions: the list, one of them, and a new one."""

from __future__ import annotations

import datetime as dt

import pytest
from django.test import Client

from apps.core import clock
from apps.evaluations.models import Run
from apps.registry.models import ModelVersion
from tests.drift.story import run_of, suite
from tests.fixtures.pages import body, heading, page, signed_in
from tests.tickets.story import change
from tests.world import World, approve

pytestmark = pytest.mark.django_db


def new(world: World, **changes: str) -> dict[str, str]:
    return {
        "label": "assistant-next",
        "model": str(world.model.pk),
        "endpoint": str(world.endpoint.pk),
        "requested_name": "assistant-next",
        "pin_kind": "snapshot",
        "parameters": '{"temperature": 0}',
        "system_prompt": "",
        "tools": "",
    } | changes


def test_the_list_says_how_many_may_be_used(client: Client, world: World) -> None:
    approve(world)
    world.another_version()
    client.force_login(world.auditor)
    assert heading(client, "/versions/") == "One of two registered versions may be used."


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("q=2026", {"assistant-2026-01-01"}),
        ("gate=allow", {"assistant-instant"}),
        ("gate=none", {"assistant-2026-01-01"}),
        ("provider=local-labs", {"assistant-instant", "assistant-2026-01-01"}),
        ("provider=nobody", set()),
        ("verdict=changed_material", set()),
        ("q=%00&page=-1&sort=nonsense", {"assistant-instant", "assistant-2026-01-01"}),
    ],
)
def test_the_list_is_filtered_by_its_address(
    client: Client, world: World, query: str, seen: set[str]
) -> None:
    approve(world)
    world.another_version()
    client.force_login(world.owner)
    text = page(client, f"/versions/?{query}")
    for label in ("assistant-instant", "assistant-2026-01-01"):
        assert (f"data-row>{label}<" in text) == (label in seen)


def test_a_version_says_since_when_it_behaves_differently(client: Client, world: World) -> None:
    change(world)
    client.force_login(world.owner)
    said = heading(client, f"/versions/{world.version.pk}/")
    assert said.startswith("assistant-instant behaves differently since ")
    assert said.endswith("UTC.")
    approve(world)
    said = heading(client, f"/versions/{world.version.pk}/")
    assert said.endswith("UTC; approved behaviour ended there.")


def test_a_version_without_baseline_says_that_nobody_could_tell(world: World) -> None:
    said = heading(signed_in(world.owner), f"/versions/{world.version.pk}/")
    assert said == "assistant-instant has no baseline yet, so nobody could tell whether it changed."


@pytest.mark.parametrize(
    ("tab", "seen"),
    [
        ("changes", "C-1"),
        ("runs", "Scheduled rerun"),
        ("approvals", "A-1"),
        ("configuration", "An alias cannot be verified by its name"),
        ("identity", "Nothing observed yet"),
        ("history", "registered assistant-instant"),
        ("nonsense", "C-1"),
    ],
)
def test_every_view_of_a_version_shows_its_evidence(world: World, tab: str, seen: str) -> None:
    approve(world)
    change(world)
    assert seen in page(signed_in(world.lead), f"/versions/{world.version.pk}/?tab={tab}")


def test_the_history_is_for_those_who_may_audit(world: World) -> None:
    client = signed_in(world.owner)
    url = f"/versions/{world.version.pk}/"
    assert "?tab=history" not in page(client, url)
    assert client.get(f"{url}?tab=history").status_code == 403


def test_an_outsider_finds_no_version(world: World) -> None:
    client = signed_in(world.outsider)
    assert client.get(f"/versions/{world.version.pk}/").status_code == 404
    assert "assistant-instant" not in page(client, "/versions/")


def test_an_auditor_gets_no_act_and_may_not_register(world: World) -> None:
    client = signed_in(world.auditor)
    text = page(client, f"/versions/{world.version.pk}/")
    for act in ("Start run", "Add schedule", "Request approval"):
        assert act not in text
    assert "Register version" not in page(client, "/versions/")
    assert client.post("/versions/new/", new(world)).status_code == 403
    assert ModelVersion.objects.count() == 1


def test_terms_of_use_are_read_before_a_version_is_registered(world: World) -> None:
    assert "Gemma Terms of Use." in page(signed_in(world.owner), "/versions/new/")


def test_a_registered_version_is_shown(client: Client, world: World) -> None:
    client.force_login(world.owner)
    answer = client.post("/versions/new/", new(world))
    made = ModelVersion.objects.get(label="assistant-next")
    assert answer["Location"] == f"/versions/{made.pk}/"
    assert made.parameters == {"temperature": 0}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"parameters": "{temperature}"}, "This is not JSON"),
        ({"parameters": "[]"}, "This must be an object"),
        ({"parameters": "[" * 100_000}, "This is not JSON"),
        ({"parameters": '{"temprature": 0}'}, "temprature"),
        ({"parameters": '{"temperature": NaN}'}, "field__error"),
        ({"requested_name": ""}, "This field is required."),
        ({"label": "x" * 201}, "at most 200 characters"),
        ({"label": "nul\x00"}, "Null characters are not allowed"),
        ({"model": "nonsense"}, "is not a valid"),
    ],
)
def test_bad_input_is_named_at_the_field_and_kept(
    client: Client, world: World, changes: dict[str, str], error: str
) -> None:
    client.force_login(world.owner)
    answer = client.post("/versions/new/", new(world, **{"system_prompt": "Sort it."} | changes))
    assert answer.status_code == 200
    assert error in body(answer)
    assert "Sort it." in body(answer)
    assert ModelVersion.objects.count() == 1


def test_the_same_configuration_again_names_its_twin(client: Client, world: World) -> None:
    client.force_login(world.owner)
    client.post("/versions/new/", new(world))
    assert "exactly this configuration" in body(client.post("/versions/new/", new(world)))


@pytest.mark.parametrize(("age", "days"), [(2, 7), (12, 30), (60, 90), (400, 90)])
def test_the_time_shown_first_is_as_long_as_the_versions_life(
    client: Client, world: World, age: int, days: int
) -> None:
    run = run_of(world.version, suite())
    Run.objects.filter(pk=run.pk).update(created_at=clock.now() - dt.timedelta(days=age))
    client.force_login(world.owner)
    text = page(client, f"/versions/{world.version.pk}/")
    assert f"<h2>The last {days} days</h2>" in text
    assert "<h2>The last 365 days</h2>" in page(client, f"/versions/{world.version.pk}/?days=365")
