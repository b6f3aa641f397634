from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.db import connection

from apps.audit.models import AuditEvent
from apps.audit.services import sequence
from apps.registry import services as registry
from tests.web.acts import Person, first_line, words
from tests.world import World, approve


def numbered(world: World) -> int:
    approve(world)
    while sequence():
        pass
    return AuditEvent.objects.count()


def test_the_history_says_who_did_what_newest_first(world: World) -> None:
    numbered(world)
    auditor = Person(world.auditor)
    response = auditor.client.get("/history/")
    line = first_line(response)
    assert re.search(
        r"^(\d+|Nine) acts on record; the last, on .* UTC: Aaron Auditor signed in", line
    ), line
    assert AuditEvent.objects.count() == 9
    text = words(response)
    assert text.index("Greta Lead: approval A-1") < text.index("Olga Owner requested approval A-1")
    assert "registry.approval_approved" in text


@pytest.mark.parametrize("role", ["owner", "outsider"])
def test_who_may_not_read_the_history_is_refused(world: World, role: str) -> None:
    person = Person(getattr(world, role))
    entry = AuditEvent.objects.first()
    assert entry is not None
    person.get("/history/", status=403)
    person.get(f"/history/{entry.pk}/", status=403)
    person.post("/history/verify/", status=403)


def test_the_history_is_filtered_by_its_address(world: World) -> None:
    numbered(world)
    auditor = Person(world.auditor)
    text = auditor.get("/history/", person=str(world.validator.pk), action="registry.")
    assert "One act fits these filters; the last" in text
    assert "approval_validated" in text
    text = auditor.get("/history/", object=f"registry.usecase:{world.use_case.pk}")
    assert "One act fits" in text
    assert "Nothing fits these filters." in auditor.get("/history/", since="2999-01-01")
    assert "Nothing fits these filters." in auditor.get("/history/", until="1999-01-01")
    assert "One act fits" in auditor.get("/history/", q="REGISTERED THE USE CASE")


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-02-31"},
        {"until": "9999-12-31"},
        {"page": "nonsense"},
        {"page": "99999999999999999999"},
        {"q": "\x00"},
        {"object": ":::"},
        {"person": "x" * 500},
    ],
)
def test_nonsense_in_the_address_is_no_error(world: World, query: dict[str, Any]) -> None:
    numbered(world)
    Person(world.auditor).get("/history/", **query)


def test_a_date_that_is_none_is_said(world: World) -> None:
    assert "That is no date." in Person(world.auditor).get("/history/", since="yesterday")


def test_pages_are_numbered_and_hold_fifty(world: World) -> None:
    for n in range(120):
        registry.create_provider(actor=world.admin, slug=f"p-{n}", name=f"Provider {n}")
    auditor = Person(world.auditor)
    assert "1 to 50 of" in auditor.get("/history/")
    second = auditor.get("/history/", page="3")
    assert "101 to " in second
    assert "Provider 0" in second


def test_verifying_recomputes_the_log_and_says_so(world: World) -> None:
    count = numbered(world)
    auditor = Person(world.auditor)
    assert "not verified yet" in auditor.get("/history/")
    auditor.post("/history/verify/")
    assert f"Verified: {count} entries" in auditor.get("/history/")


def test_a_log_that_was_tampered_with_does_not_verify(world: World) -> None:
    numbered(world)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE audit_auditevent SET summary = 'Nothing happened.'")
        cursor.execute("SET LOCAL session_replication_role = DEFAULT")
    auditor = Person(world.auditor)
    auditor.post("/history/verify/")
    text = auditor.get("/history/")
    assert "The log does not verify." in text
    assert "its columns differ from its hashed content" in text


def test_an_entry_shows_what_was_hashed(world: World) -> None:
    numbered(world)
    entry = AuditEvent.objects.get(action="registry.approval_requested")
    text = Person(world.auditor).get(f"/history/{entry.pk}/")
    assert "content fits its hash" in text
    assert '"action": "registry.approval_requested"' in text
    assert (
        "/approvals/1/"
        in Person(world.auditor).client.get(f"/history/{entry.pk}/").content.decode()
    )


def test_an_entry_that_is_not_there_is_not_found(world: World) -> None:
    Person(world.auditor).get(f"/history/{uuid.uuid4()}/", status=404)


def test_verifying_is_a_post(world: World) -> None:
    Person(world.auditor).get("/history/verify/", status=405)
