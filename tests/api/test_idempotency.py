"""A POST sent twice acts once."""

from __future__ import annotations

import datetime as dt
import threading
from typing import Any

import pytest
from django.db import connection, transaction

from apps.audit.models import AuditEvent
from apps.core import clock
from apps.core.idempotency import _lock  # the lock that a first request would hold
from apps.core.models import IdempotencyKey
from apps.registry.models import Provider
from tests.api.conftest import Api, is_problem
from tests.world import World, build_world

PROVIDER = {"slug": "acme", "name": "Acme"}


def key(value: str = "8e03978e-40d5-43dd-bc93-6894a57f9324") -> dict[str, Any]:
    return {"Idempotency-Key": value}


def test_the_same_request_again_gets_the_same_answer_and_acts_once(lead: Api) -> None:
    first = lead.post("providers", PROVIDER, **key())
    again = lead.post("providers", PROVIDER, **key())
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again["Idempotent-Replayed"] == "true"
    assert not first.has_header("Idempotent-Replayed")
    assert (again["ETag"], again["Location"]) == (first["ETag"], first["Location"])
    assert Provider.objects.filter(slug="acme").count() == 1


def test_the_order_of_fields_does_not_make_it_another_request(lead: Api) -> None:
    lead.post("providers", {"slug": "acme", "name": "Acme"}, **key())
    again = lead.post("providers", {"name": "Acme", "slug": "acme"}, **key())
    assert again["Idempotent-Replayed"] == "true"


def test_the_key_with_another_body_is_refused(lead: Api) -> None:
    lead.post("providers", PROVIDER, **key())
    response = lead.post("providers", {"slug": "other", "name": "Other"}, **key())
    is_problem(response, 422, "idempotency_key_reused", field="Idempotency-Key")
    assert not Provider.objects.filter(slug="other").exists()


def test_the_key_at_another_address_is_refused(lead: Api) -> None:
    lead.post("providers", PROVIDER, **key())
    is_problem(lead.post("models", PROVIDER, **key()), 422, "idempotency_key_reused")


def test_an_answer_that_failed_is_not_kept_so_a_mended_request_may_use_the_key(lead: Api) -> None:
    is_problem(lead.post("providers", {"slug": "acme"}, **key()), 400)
    assert not IdempotencyKey.objects.exists()
    assert lead.post("providers", PROVIDER, **key()).status_code == 201


def test_two_people_may_use_the_same_key(lead: Api, admin: Api) -> None:
    lead.post("providers", PROVIDER, **key())
    other = admin.post("providers", {"slug": "other", "name": "Other"}, **key())
    assert other.status_code == 201


def test_a_key_is_forgotten_after_a_day(lead: Api) -> None:
    lead.post("providers", PROVIDER, **key())
    IdempotencyKey.objects.update(created_at=clock.now() - dt.timedelta(hours=25))
    response = lead.post("providers", {"slug": "other", "name": "Other"}, **key())
    assert response.status_code == 201


@pytest.mark.parametrize("bad", ["", " ", "a b", "x" * 201, "ümlaut"])
def test_a_malformed_key_is_refused(lead: Api, bad: str) -> None:
    is_problem(lead.post("providers", PROVIDER, **key(bad)), 400, field="Idempotency-Key")


def test_a_second_request_while_the_first_still_runs_is_told_to_come_back(
    lead: Api, world: World
) -> None:
    """The first request is another database session that holds the key's lock."""
    held, done = threading.Event(), threading.Event()
    owner = str(world.lead.pk)

    def first() -> None:
        try:  # on this thread's own connection
            with transaction.atomic():
                _lock(owner, "k-1")
                held.set()
                done.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert held.wait(10)
        response = lead.post("providers", PROVIDER, **key("k-1"))
    finally:
        done.set()
        thread.join()
    is_problem(response, 409, "idempotency_in_progress")
    assert int(response["Retry-After"]) >= 1
    assert not Provider.objects.filter(slug="acme").exists()


def test_the_secret_of_a_token_is_not_kept_for_a_replay(owner: Api) -> None:
    body = {
        "name": "edge",
        "scopes": ["gate"],
        "expires_at": (clock.now() + dt.timedelta(days=1)).isoformat(),
    }
    first = owner.post("tokens", body, **key())
    secret = first.json()["secret"]
    assert secret
    again = owner.post("tokens", body, **key())
    assert again.json()["secret"] is None
    assert again.json()["id"] == first.json()["id"]
    assert secret not in str(IdempotencyKey.objects.values_list("response", flat=True))


def test_a_verb_repeated_with_its_key_is_replayed(lead: Api, owner: Api, world: World) -> None:
    approval = world.request()
    path = f"approvals/{approval.pk}/reject"
    first = lead.post(path, {"reason": "Too early."}, **key())
    assert first.status_code == 200, first.json()
    again = lead.post(path, {"reason": "Too early."}, **key())
    assert again["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()


def test_two_requests_at_the_very_same_time_act_once(live_db: str) -> None:
    """Real connections that commit: each answer is the one made, its replay, or "come back"."""
    world = build_world()
    clients = [Api(world.lead) for _ in range(6)]
    start = threading.Barrier(len(clients))
    answers: list[Any] = []

    def send(client: Api) -> None:
        try:
            start.wait(10)
            answers.append(client.post("providers", PROVIDER, **key()))
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    made = [a for a in answers if a.status_code == 201]
    assert len(answers) == len(clients)
    for answer in answers:
        if answer.status_code != 201:
            is_problem(answer, 409, "idempotency_in_progress")
    assert len({a.json()["id"] for a in made}) == 1
    assert sum(not a.has_header("Idempotent-Replayed") for a in made) == 1
    assert Provider.objects.filter(slug="acme").count() == 1
    assert AuditEvent.objects.filter(object_name="Acme").count() == 1
