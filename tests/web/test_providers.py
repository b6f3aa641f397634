"""Providers, their endpoints and models; and people."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.registry.credentials import resolve
from apps.registry.models import Endpoint, Provider
from tests.fixtures.pages import body, heading, page, signed_in
from tests.world import World

pytestmark = pytest.mark.django_db
URL = "/providers/local-labs/"


def endpoint(**changes: str) -> dict[str, str]:
    values = {
        "name": "second",
        "base_url": "http://127.0.0.1:8/v1",
        "api_style": "chat_completions",
        "max_concurrency": "2",
        "timeout_seconds": "30",
        "allow_private_address": "on",
    } | changes
    return {"form": "new-endpoint"} | {f"endpoint-{k}": v for k, v in values.items()}


def edit(row: Endpoint, **changes: str) -> dict[str, str]:
    values = {
        "name": row.name,
        "base_url": row.base_url,
        "api_style": row.api_style,
        "max_concurrency": "3",
        "timeout_seconds": "60",
        "allow_private_address": "on",
        "active": "on",
        "row_version": str(row.row_version),
    } | changes
    return {"form": "endpoint"} | {f"edit-{k}": v for k, v in values.items()}


def test_a_provider_says_what_it_serves_and_under_which_terms(world: World) -> None:
    client = signed_in(world.auditor)
    assert heading(client, URL) == "Local Labs serves one model at one endpoint in use."
    assert "Gemma Terms of Use." in page(client, URL)
    assert heading(client, "/providers/") == "One provider serves models here."


def test_a_bare_key_is_stored_encrypted_and_never_shown(client: Client, world: World) -> None:
    client.force_login(world.admin)
    client.post(URL, endpoint(credential="sk-very-secret"))
    made = Endpoint.objects.get(name="second")
    assert made.credential_ref == ""
    assert resolve(made) == "sk-very-secret"
    for url in (URL, f"{URL}?edit={made.pk}"):
        assert "sk-very-secret" not in page(client, url)


def test_a_refused_form_does_not_give_the_key_back(client: Client, world: World) -> None:
    client.force_login(world.admin)
    answer = client.post(URL, endpoint(credential="sk-very-secret", base_url="ftp://nowhere"))
    assert "ftp://nowhere" in body(answer)
    assert "field__error" in body(answer)
    assert "sk-very-secret" not in body(answer)
    assert not Endpoint.objects.filter(name="second").exists()


def test_an_empty_key_keeps_the_stored_one_and_a_box_removes_it(
    client: Client, world: World
) -> None:
    client.force_login(world.admin)
    client.post(URL, endpoint(credential="env:LOCAL_LABS_KEY"))
    made = Endpoint.objects.get(name="second")
    url = f"{URL}?edit={made.pk}"
    client.post(url, edit(made))
    made.refresh_from_db()
    assert (made.credential_ref, made.max_concurrency) == ("env:LOCAL_LABS_KEY", 3)
    client.post(url, edit(made, remove_credential="on"))
    made.refresh_from_db()
    assert made.credential_ref == ""


def test_a_new_address_asks_for_the_key_again(client: Client, world: World) -> None:
    client.force_login(world.admin)
    client.post(URL, endpoint(credential="sk-very-secret"))
    made = Endpoint.objects.get(name="second")
    answer = client.post(f"{URL}?edit={made.pk}", edit(made, base_url="http://127.0.0.2:8/v1"))
    assert "belongs to the old address" in body(answer)


def test_a_stale_endpoint_form_says_so(client: Client, world: World) -> None:
    client.force_login(world.admin)
    url = f"{URL}?edit={world.endpoint.pk}"
    client.post(url, edit(world.endpoint))
    answer = client.post(url, edit(world.endpoint, name="mine"))
    assert "Somebody else saved this" in body(answer)
    assert 'value="mine"' in body(answer)


def test_an_auditor_edits_no_provider(world: World) -> None:
    client = signed_in(world.auditor)
    text = page(client, f"{URL}?edit={world.endpoint.pk}")
    for act in ("Add an endpoint", "Add a model", "Save"):
        assert act not in text
    for what in ("provider", "endpoint", "new-endpoint", "new-model", "nonsense"):
        assert client.post(URL, {"form": what}).status_code == 403
    assert client.post("/providers/new/", {"name": "X", "slug": "x"}).status_code == 403


def test_an_outsider_finds_no_provider(world: World) -> None:
    client = signed_in(world.outsider)
    assert client.get(URL).status_code == 404
    assert "Local Labs" not in page(client, "/providers/")


def test_a_taken_name_is_said_at_the_field(client: Client, world: World) -> None:
    client.force_login(world.admin)
    answer = client.post("/providers/new/", {"name": "Local Labs", "slug": "other"})
    assert "A provider with this name or slug exists." in body(answer)
    assert 'value="other"' in body(answer)
    assert Provider.objects.count() == 1


def test_an_owner_adds_a_model(client: Client, world: World) -> None:
    client.force_login(world.owner)
    answer = client.post(URL, {"form": "new-model", "model-name": "Summariser"})
    assert answer.status_code == 302
    assert "Summariser" in page(client, URL)


# ---------------------------------------------------------------------------------- people

PERSON = {
    "display_name": "Nora New",
    "email": "nora@northwind.example",
    "password": "Long-Enough-42-Words",
    "roles": ["validator"],
}


def test_an_administrator_adds_a_person_who_can_sign_in(client: Client, world: World) -> None:
    client.force_login(world.admin)
    assert heading(client, "/people/") == "Seven people may sign in, one of them as administrator."
    client.post("/people/", PERSON)
    made = User.objects.get(email="nora@northwind.example")
    assert made.check_password("Long-Enough-42-Words")
    assert "Nora New" in page(client, "/people/?role=validator")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"password": "short"}, "too short"),
        ({"email": "nobody"}, "not an e-mail address"),
        ({"email": "OLGA.owner@northwind.example"}, "There is an account for"),
        ({"roles": ["emperor"]}, "Select a valid choice"),
    ],
)
def test_a_bad_account_is_refused_at_the_field(
    client: Client, world: World, changes: dict[str, object], error: str
) -> None:
    client.force_login(world.admin)
    answer = client.post("/people/", PERSON | changes)
    assert error in body(answer)
    assert 'value="Nora New"' in body(answer)
    assert "Long-Enough-42-Words" not in body(answer)
    assert not User.objects.filter(display_name="Nora New").exists()


def test_only_administrators_see_people(world: World) -> None:
    for user in (world.lead, world.auditor, world.outsider):
        client = signed_in(user)
        assert client.get("/people/").status_code == 403
        assert client.post("/people/", PERSON).status_code == 403
