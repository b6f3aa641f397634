"""An approval: what is promised, who said so, and the moves that each person has."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from apps.registry.models import Approval
from tests.fixtures.pages import body, heading, page, signed_in
from tests.tickets.story import change
from tests.world import World, approve, store_suites

pytestmark = pytest.mark.django_db


def request(world: World, **changes: str) -> dict[str, Any]:
    store_suites()
    row = {
        "code": "A1",
        "sentence": "Sorts claims correctly.",
        "suite_slug": "claims-triage",
        "metric_key": "accuracy",
        "comparator": "gte",
        "threshold": "0.8",
        "tolerance": "",
        "criticality": "high",
    }
    values = {f"assumption-0-{k}": v for k, v in row.items()}
    for n in (1, 2):
        values |= {
            f"assumption-{n}-code": f"A{n + 1}",
            f"assumption-{n}-comparator": "gte",
            f"assumption-{n}-criticality": "medium",
        }
    return (
        values
        | {
            "assumption-TOTAL_FORMS": "3",
            "assumption-INITIAL_FORMS": "3",
            "use_case": str(world.use_case.pk),
            "model_version": str(world.version.pk),
            "rationale": "As good as before, and cheaper.",
        }
        | changes
    )


def test_an_approval_says_where_it_stands(world: World) -> None:
    approval = world.request()
    url = f"/approvals/{approval.number}/"
    said = heading(signed_in(world.owner), url)
    assert said == "A-1 asks to use assistant-instant for Claims triage, and waits for a validator."
    for client, move in (
        (signed_in(world.validator), "validate"),
        (signed_in(world.lead), "approve"),
    ):
        assert client.post(f"{url}{move}/").status_code == 302
    said = heading(signed_in(world.owner), url)
    assert said == "A-1 allows assistant-instant for Claims triage."
    for name in ("Olga Owner", "Viktor Validator", "Greta Lead"):
        assert name in page(signed_in(world.auditor), url)


def test_promises_stand_beside_what_was_measured(world: World) -> None:
    story = change(world)
    approve(world)
    story.breaks("A1", 0.4)
    text = page(signed_in(world.auditor), "/approvals/1/")
    assert "Sorts claims correctly in at least 80 % of cases." in text
    assert "broken" in text
    assert "not tested" in text
    assert heading(signed_in(world.auditor), "/approvals/1/") == (
        "A-1 allows assistant-instant for Claims triage, but one assumption no longer holds."
    )


def test_an_open_ticket_stands_in_the_first_line_of_its_approval(world: World) -> None:
    approve(world)
    ticket = change(world, broken={"A1": 0.4}).ticket()
    client = signed_in(world.lead)
    assert heading(client, "/approvals/1/") == (
        "A-1 allows assistant-instant for Claims triage, but one assumption no longer holds and "
        f"{ticket} ({ticket.get_severity_display().lower()}) waits for a decision."
    )
    assert f">Decide on {ticket}</a>" in page(client, "/approvals/1/")


def test_the_requester_is_offered_no_approval_and_refused_one(world: World) -> None:
    approval = world.request(actor=world.lead)
    client = signed_in(world.lead)
    url = f"/approvals/{approval.number}/"
    assert f"{url}approve/" not in page(client, url)
    assert f"{url}reject/" in page(client, url)  # withdrawing
    answer = client.post(f"{url}approve/")
    assert answer.status_code == 403
    assert "Nobody decides on their own request." in body(answer)
    approval.refresh_from_db()
    assert approval.state == "requested"


def test_an_auditor_gets_no_button_and_is_refused_every_move(world: World) -> None:
    approval = approve(world)
    client = signed_in(world.auditor)
    url = f"/approvals/{approval.number}/"
    assert 'method="post" action="/approvals/' not in page(client, url)
    for move in ("validate", "approve", "reject", "hold", "release", "suspend", "revoke"):
        assert client.post(f"{url}{move}/", {"reason": "Because."}).status_code == 403
    assert client.post(f"{url}expire/").status_code == 404
    assert client.get(f"{url}suspend/").status_code == 405
    approval.refresh_from_db()
    assert approval.state == "approved"


def test_an_outsider_finds_no_approval(world: World) -> None:
    approve(world)
    client = signed_in(world.outsider)
    assert client.get("/approvals/1/").status_code == 404
    assert client.post("/approvals/1/suspend/", {"reason": "x"}).status_code == 404
    assert client.get("/approvals/99999999999999999999/").status_code == 404


def test_suspending_asks_for_a_reason_and_tells_it(world: World) -> None:
    approve(world)
    client = signed_in(world.lead)
    answer = client.post("/approvals/1/suspend/", {"reason": " "})
    assert answer.status_code == 400
    assert 'id="reason-again"' in body(answer)
    client.post("/approvals/1/suspend/", {"reason": "Wrong sums in March."})
    assert "Wrong sums in March." in page(client, "/approvals/1/")
    assert "is suspended" in heading(client, "/approvals/1/")


def test_a_stale_button_keeps_the_reason(world: World) -> None:
    approval = approve(world)
    answer = signed_in(world.lead).post(
        "/approvals/1/suspend/", {"reason": "Wrong sums in March.", "row_version": "1"}
    )
    assert answer.status_code == 412
    assert "Wrong sums in March." in body(answer)
    approval.refresh_from_db()
    assert approval.state == "approved"


def test_a_request_leaves_empty_rows_out(client: Client, world: World) -> None:
    client.force_login(world.owner)
    answer = client.post("/approvals/new/", request(world))
    assert answer["Location"] == "/approvals/1/"
    assert [a.code for a in Approval.objects.get().assumptions.all()] == ["A1"]


def test_rows_are_added_and_taken_away_with_everything_typed_still_there(
    client: Client, world: World
) -> None:
    client.force_login(world.owner)
    more = body(client.post("/approvals/new/", request(world, row_add="1")))
    assert more.count("<legend") == 4
    assert 'value="A4"' in more
    assert "As good as before, and cheaper." in more
    assert "Fill this in" not in more
    fewer = body(client.post("/approvals/new/", request(world, row_remove="0")))
    assert fewer.count("<legend") == 2
    assert "Sorts claims correctly." not in fewer
    for nonsense in ("x", "99", "-1", "9" * 30):
        answer = client.post("/approvals/new/", request(world, row_remove=nonsense))
        assert body(answer).count("<legend") == 3
    assert not Approval.objects.exists()


def test_measured_metrics_are_offered(client: Client, world: World) -> None:
    change(world)
    client.force_login(world.owner)
    text = page(client, f"/approvals/new/?version={world.version.pk}")
    assert '<option value="accuracy">claims-triage, baseline 1' in text
    assert "Gemma Terms of Use." in text
    assert client.get("/approvals/new/?version=nonsense&use_case=%00").status_code == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"rationale": "short"}, "too short"),
        ({"assumption-0-threshold": "NaN"}, "Enter a number."),
        ({"assumption-0-threshold": ""}, "Fill this in"),
        ({"assumption-0-tolerance": "-1"}, "greater than or equal to 0"),
        ({"assumption-0-suite_slug": "No Slug"}, "is no short name"),
        ({"assumption-0-code": "1"}, "is no code"),
        ({"expires_at": "2001-01-01T00:00"}, "expires_at"),
        ({"assumption-TOTAL_FORMS": "x"}, "The assumptions could not be read."),
        (
            {
                f"assumption-0-{k}": ""
                for k in ("sentence", "suite_slug", "metric_key", "threshold")
            },
            "at least one assumption",
        ),
    ],
)
def test_a_bad_request_is_shown_again_as_typed(
    client: Client, world: World, changes: dict[str, str], error: str
) -> None:
    client.force_login(world.owner)
    answer = client.post(
        "/approvals/new/", request(world, **{"conditions": "By day only."} | changes)
    )
    assert answer.status_code == 200
    assert error in body(answer)
    assert "By day only." in body(answer)
    assert not Approval.objects.exists()


def test_an_auditor_may_not_ask(world: World) -> None:
    client = signed_in(world.auditor)
    assert client.get("/approvals/new/").status_code == 403
    assert client.post("/approvals/new/", request(world)).status_code == 403


def test_a_decision_from_an_old_session_leads_to_signing_in_again(
    client: Client, world: World
) -> None:
    import datetime as dt

    from apps.access.models import UserSession
    from apps.core import clock

    world.request()
    client.force_login(world.validator)
    page(client, "/approvals/1/")
    UserSession.objects.update(authenticated_at=clock.now() - dt.timedelta(days=3))
    answer = client.post("/approvals/1/validate/")
    assert answer.status_code == 403
    assert "reauthenticate" in body(answer)
    assert Approval.objects.get().state == "requested"
