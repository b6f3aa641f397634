"""Schedules: when a version is asked again."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.evaluations import schedules, services
from apps.evaluations.models import Run, Schedule
from tests.fixtures.evaluations import make_revision
from tests.fixtures.pages import body, heading, page, signed_in
from tests.world import World, approve

pytestmark = pytest.mark.django_db


def form(revision: object, **changes: str) -> dict[str, str]:
    return {
        "suite_revision": str(revision.pk),  # type: ignore[attr-defined]
        "every": "2",
        "unit": "3600",
        "cron": "",
        "timezone": "Europe/Berlin",
        "replicates": "1",
        "catch_up": "once",
    } | changes


def planned(world: World) -> Schedule:
    return services.create_schedule(
        actor=world.owner,
        model_version=world.version,
        suite_revision=make_revision(4),
        interval_seconds=7200,
    )


def test_a_schedule_says_how_often(client: Client, world: World) -> None:
    revision = make_revision(4)
    client.force_login(world.owner)
    answer = client.post(f"/schedules/new/?version={world.version.pk}", form(revision))
    made = Schedule.objects.get()
    assert answer["Location"] == f"/schedules/{made.pk}/"
    said = heading(client, f"/schedules/{made.pk}/")
    assert said == "assistant-instant on Claims triage is rerun every 2 hours."


def test_a_preview_shows_five_runs_and_saves_nothing(client: Client, world: World) -> None:
    client.force_login(world.owner)
    cron = form(make_revision(4), every="", cron="30 2 * * *", preview="1")
    text = body(client.post(f"/schedules/new/?version={world.version.pk}", cron))
    assert text.count(" 02:30 CE") == 5
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"cron": "0 2 * * *"}, "not both"),
        ({"every": ""}, "Say how often"),
        ({"every": "", "cron": "nonsense"}, "is not a cron expression"),
        ({"every": "", "cron": "0 0 30 2 *"}, "is not a cron expression"),
        ({"timezone": "Europe/Atlantis"}, "There is no time zone"),
        ({"timezone": "../etc/passwd"}, "There is no time zone"),
        ({"every": "1", "unit": "1"}, "between 5 seconds and a year"),
        ({"replicates": "101"}, "less than or equal to 100"),
        ({"suite_revision": "nonsense"}, "is not a valid"),
    ],
)
def test_bad_timing_is_named_at_its_field(
    client: Client, world: World, changes: dict[str, str], error: str
) -> None:
    client.force_login(world.owner)
    url = f"/schedules/new/?version={world.version.pk}"
    answer = client.post(url, form(make_revision(4), **changes))
    assert answer.status_code == 200
    assert error in body(answer)
    assert "field__error" in body(answer)
    assert not Schedule.objects.exists()


def test_a_second_schedule_of_the_same_suite_is_refused(client: Client, world: World) -> None:
    first = planned(world)
    client.force_login(world.owner)
    url = f"/schedules/new/?version={world.version.pk}"
    assert "already rerun" in body(client.post(url, form(first.suite_revision)))
    assert Schedule.objects.count() == 1


def test_a_stale_form_is_refused_with_what_was_typed(client: Client, world: World) -> None:
    row = planned(world)
    client.force_login(world.owner)
    url = f"/schedules/{row.pk}/"
    edit = form(row.suite_revision, row_version="1", every="3")
    assert client.post(url, edit).status_code == 302
    answer = client.post(url, edit | {"every": "9"})
    assert "Somebody else saved this" in body(answer)
    assert 'value="9"' in body(answer)
    row.refresh_from_db()
    assert row.interval_seconds == 3 * 3600


def test_a_schedule_is_switched_off_and_on(client: Client, world: World) -> None:
    row = planned(world)
    client.force_login(world.owner)
    url = f"/schedules/{row.pk}/"
    client.post(url, {"switch": "off", "read": "1"})
    assert "is not rerun" in heading(client, url)
    client.post(url, {"switch": "on"})
    assert "is rerun every 2 hours" in heading(client, url)
    assert client.post(url, {"switch": "off", "read": "1"}).status_code == 412


def test_without_a_version_one_is_chosen_first(client: Client, world: World) -> None:
    client.force_login(world.owner)
    assert heading(client, "/schedules/new/") == "Which version should be asked again?"


def test_an_auditor_reads_and_changes_nothing(world: World) -> None:
    row = planned(world)
    client = signed_in(world.auditor)
    text = page(client, f"/schedules/{row.pk}/")
    assert "Save" not in text
    assert "Switch off" not in text
    for data in ({"switch": "off"}, form(row.suite_revision, row_version="1")):
        assert client.post(f"/schedules/{row.pk}/", data).status_code == 403
    assert client.get("/schedules/new/").status_code == 403


def test_an_outsider_finds_no_schedule(world: World) -> None:
    row = planned(world)
    assert signed_in(world.outsider).get(f"/schedules/{row.pk}/").status_code == 404


def test_the_form_proposes_a_cadence_by_risk_and_says_why(client: Client, world: World) -> None:
    approve(world)
    make_revision(4)
    client.force_login(world.owner)
    html = client.get(f"/schedules/new/?version={world.version.pk}").content.decode()
    assert 'value="every day at 02:00"' in html
    assert "Its use of the highest risk is of tier 1" in body(
        client.get(f"/schedules/new/?version={world.version.pk}")
    )
    assert "Schedules" in body(client.get("/schedules/new/"))  # the way back


def test_a_rule_in_words_with_windows_and_jitter_is_saved_and_shown(
    client: Client, world: World
) -> None:
    client.force_login(world.owner)
    wanted = form(
        make_revision(4),
        every="",
        calendar="first monday of the month at 02:00",
        blackouts="mon-fri 08:00-18:00\n\n2026-12-24..2026-12-27",
        jitter="15",
        on_alarm="on",
        max_tokens="9000",
    )
    url = f"/schedules/new/?version={world.version.pk}"
    assert body(client.post(url, wanted | {"preview": "1"})).count("Mon ") == 5
    client.post(url, wanted)

    row = Schedule.objects.get()
    assert (row.cron, row.jitter_seconds, row.max_tokens) == ("0 2 * * 1#1", 900, 9000)
    assert row.blackouts == ["mon-fri 08:00-18:00", "2026-12-24..2026-12-27"]
    said = heading(client, f"/schedules/{row.pk}/")
    assert "is rerun first monday of the month at 02:00 (Europe/Berlin)" in said
    saved = form(row.suite_revision, row_version="1", every="", cron="0 4 * * *")
    assert client.post(f"/schedules/{row.pk}/", saved).status_code == 302
    row.refresh_from_db()
    assert (row.calendar, row.cron, row.on_alarm) == ("", "0 4 * * *", False)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"calendar": "sometimes"}, "is not a calendar rule"),
        ({"calendar": "daily at 02:00", "blackouts": "at night"}, "is not a blackout window"),
        ({"calendar": "daily at 02:00", "blackouts": "daily 01:00-03:00"}, "would never run"),
        ({"every": "5", "unit": "60", "jitter": "9"}, "The jitter must lie between"),
        ({"calendar": "daily at 02:00", "cron": "0 2 * * *"}, "not both"),
    ],
)
def test_what_cannot_be_due_is_named_at_its_field(
    client: Client, world: World, changes: dict[str, str], error: str
) -> None:
    client.force_login(world.owner)
    url = f"/schedules/new/?version={world.version.pk}"
    answer = client.post(url, form(make_revision(4), **{"every": ""} | changes))
    assert error in body(answer)
    assert "field__error" in body(answer)
    assert not Schedule.objects.exists()


def test_a_schedule_for_alarms_alone_says_so(client: Client, world: World) -> None:
    client.force_login(world.owner)
    url = f"/schedules/new/?version={world.version.pk}"
    client.post(url, form(make_revision(4), every="", on_alarm="on"))
    row = Schedule.objects.get()
    assert row.next_due_at is None
    assert "is rerun on alarms only" in heading(client, f"/schedules/{row.pk}/")
    assert "When a layer alarms" in page(client, f"/schedules/{row.pk}/")
    assert page(client, f"/versions/{world.version.pk}/")
    assert page(client, "/versions/")


def test_the_list_says_what_is_asked_again_and_what_was_left_out(
    client: Client, world: World
) -> None:
    client.force_login(world.owner)
    assert "No version is asked again by itself" in heading(client, "/schedules/")
    row = planned(world)
    schedules.leave_out(row, "Its run before was still under way.")
    assert heading(client, "/schedules/") == "One schedule asks again by itself."
    assert "Its run before was still under way." in page(client, "/schedules/")
    assert "A due time was left out." in page(client, f"/schedules/{row.pk}/")


def test_a_schedule_is_run_now_with_a_reason(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.evaluations.wake.workers", lambda count=1: None)
    row = planned(world)
    auditor = signed_in(world.auditor)
    assert auditor.post(f"/schedules/{row.pk}/", {"trigger": "1"}).status_code == 403
    client.force_login(world.owner)
    client.post(f"/schedules/{row.pk}/", {"trigger": "1", "reason": " "})
    assert not Run.objects.exists()

    answer = client.post(f"/schedules/{row.pk}/", {"trigger": "1", "reason": "A hunch."})

    run = Run.objects.get()
    assert answer["Location"] == f"/runs/{run.pk}/"
    assert (run.reason, run.urgency) == ("A hunch.", Run.Urgency.URGENT)
    assert "urgent" in page(client, f"/schedules/{row.pk}/")
