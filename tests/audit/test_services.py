"""Entries: committed with their write, numbered gaplessly, checked down to the first bad one."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from django.db import connection, transaction
from django.db.utils import IntegrityError

from apps.accounts.models import Team
from apps.audit import selectors, services
from apps.audit.merkle import leaf_hash, root_of
from apps.audit.models import AuditEvent, AuditHead, AuditLeaf, AuditPending
from apps.audit.services import SYSTEM, record, sequence, verify


@pytest.fixture
def team(db: None) -> Team:
    return Team.objects.create(name="Claims")


def write(team: Team, summary: str = "Something happened.", **changes: Any) -> AuditEvent:
    return record("tests.happened", actor=SYSTEM, obj=team, summary=summary, changes=changes)


def written(team: Team, count: int) -> list[AuditEvent]:
    events = [write(team, f"Event {i}.") for i in range(count)]
    sequence()
    return events


@contextmanager
def tampering(*tables: str) -> Iterator[Any]:
    """What an owner of the database could do: switch the triggers off, change, switch them on."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # nothing pending, so that ALTER may be
        for table in tables:
            cursor.execute(f'ALTER TABLE "{table}" DISABLE TRIGGER USER')
        yield cursor
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in tables:
            cursor.execute(f'ALTER TABLE "{table}" ENABLE TRIGGER USER')


# Writing


def test_an_entry_says_who_did_what_to_what(team: Team) -> None:
    token = services.current_session_ref.set("session-1")
    try:
        event = write(team, "Ada renamed the team.", name=["Old", "New"])
    finally:
        services.current_session_ref.reset(token)
    body = json.loads(event.body)
    assert body["action"] == "tests.happened"
    assert body["actor"] == {"id": "system", "name": "GovTrack"}
    assert body["session"] == "session-1"
    assert body["object"] == {"type": "accounts.team", "id": str(team.pk), "name": "Claims"}
    assert body["changes"] == {"name": ["Old", "New"]}
    assert event.body.encode() == rfc8785.dumps(body)
    assert bytes(event.leaf_hash) == leaf_hash(event.body.encode())


def test_an_entry_outside_a_transaction_is_refused(live_db: str, django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        team = Team.objects.create(name="Claims")
        with pytest.raises(RuntimeError, match="transaction"):
            write(team)


def test_a_write_that_is_rolled_back_leaves_no_entry(team: Team) -> None:
    @transaction.atomic
    def twice() -> None:
        write(team)
        Team.objects.create(name="Claims")

    before = AuditEvent.objects.count()
    with pytest.raises(IntegrityError):
        twice()
    assert AuditEvent.objects.count() == before
    assert AuditPending.objects.count() == before


def test_an_entry_that_fails_takes_its_write_with_it(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(value: object) -> bytes:
        raise ValueError("no")

    @transaction.atomic
    def rename() -> None:
        team.name = "Renamed"
        team.save()
        write(team)

    monkeypatch.setattr(rfc8785, "dumps", broken)
    with pytest.raises(ValueError, match="no"):
        rename()
    team.refresh_from_db()
    assert team.name == "Claims"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (2**53, str(2**53)),
        (2**53 - 1, 2**53 - 1),
        (True, True),
        ("a\x00b\ud800", "a\ufffdb?"),
        ({"k\x00": 1}, {"k\ufffd": 1}),
        (Decimal("1.50"), "1.50"),
        (dt.datetime(2026, 1, 5, 10, 0, tzinfo=dt.UTC), "2026-01-05T10:00:00Z"),
        (dt.timedelta(hours=1), "1:00:00"),
        (b"\x01\xff", "01ff"),
        ({"b", "a"}, ["a", "b"]),
        (Path("/x"), "/x"),
        (None, None),
    ],
    ids=lambda v: type(v).__name__,
)
def test_every_value_can_be_written_down(team: Team, value: object, stored: object) -> None:
    event = write(team, value=value)
    event.refresh_from_db()
    assert json.loads(event.body)["changes"]["value"] == stored
    sequence()
    assert verify().ok


def test_text_that_cannot_be_stored_does_not_stop_the_write(team: Team) -> None:
    event = record(
        "tests.happened", actor=SYSTEM, obj=team, summary="a\x00b", object_name="x\ud800" * 400
    )
    event.refresh_from_db()
    assert event.summary == "a\ufffdb"
    assert len(event.object_name) == 300
    sequence()
    assert verify().ok


# Numbering


def test_entries_are_numbered_without_gap_in_the_order_in_which_they_happened(team: Team) -> None:
    events = written(team, 5)
    leaves = list(AuditLeaf.objects.order_by("seq"))
    assert [leaf.seq for leaf in leaves] == list(range(5))
    assert [leaf.event_id for leaf in leaves] == [e.pk for e in events]
    head = AuditHead.objects.get()
    assert bytes(head.root_hash) == root_of([bytes(leaf.leaf_hash) for leaf in leaves])


def test_the_tree_grows_in_batches_to_the_same_root(team: Team) -> None:
    for i in range(7):
        write(team, f"Event {i}.")
    assert [sequence(limit=3), sequence(limit=3), sequence(limit=3), sequence(limit=3)] == [
        3,
        3,
        1,
        0,
    ]
    assert list(AuditHead.objects.order_by("size").values_list("size", flat=True)) == [3, 6, 7]
    result = verify()
    assert (result.ok, result.entries, result.pending) == (True, 7, 0)
    assert "7 entries" in result.sentence()


def test_an_entry_not_yet_numbered_is_counted_as_pending(team: Team) -> None:
    written(team, 2)
    write(team)
    result = verify()
    assert (result.ok, result.entries, result.pending) == (True, 2, 1)


def test_a_pending_note_for_a_numbered_entry_does_not_stop_the_sequencer(team: Team) -> None:
    (old,) = written(team, 1)
    AuditPending.objects.create(event=old)
    write(team)
    assert sequence() == 1
    assert verify().entries == 2


def test_concurrent_sequencers_and_writers_number_every_entry_once(
    live_db: str, django_db_blocker: Any
) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def worker(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    def writer(number: int) -> Any:
        def work() -> None:
            team = Team.objects.create(name=f"Team {number}")
            for i in range(15):
                with transaction.atomic():
                    write(team, f"Writer {number}, entry {i}.")

        return work

    def sequencer() -> None:
        while not done.is_set():
            sequence(limit=4)

    with django_db_blocker.unblock():
        writers = [threading.Thread(target=worker, args=(writer(n),)) for n in range(4)]
        sequencers = [threading.Thread(target=worker, args=(sequencer,)) for _ in range(3)]
        for thread in (*writers, *sequencers):
            thread.start()
        for thread in writers:
            thread.join(60)
        done.set()
        for thread in sequencers:
            thread.join(60)
        while sequence():
            pass
        assert not errors
        numbers = list(AuditLeaf.objects.order_by("seq").values_list("seq", flat=True))
        assert numbers == list(range(60))
        result = verify()
        assert (result.ok, result.entries, result.pending) == (True, 60, 0)


# Tampering


def test_a_changed_entry_is_named(team: Team) -> None:
    events = written(team, 4)
    with tampering("audit_auditevent") as cursor:
        cursor.execute(
            "UPDATE audit_auditevent SET summary = 'Nothing happened.' WHERE id = %s",
            [events[2].pk],
        )
    result = verify()
    assert not result.ok
    assert result.first_bad == f"2 ({events[2].pk})"
    assert "columns differ" in result.reason
    assert result.sentence().startswith("Not intact: entry 2")


def test_a_changed_body_is_named(team: Team) -> None:
    events = written(team, 3)
    with tampering("audit_auditevent") as cursor:
        cursor.execute(
            "UPDATE audit_auditevent SET body = replace(body, 'Event 1', 'Event 9') WHERE id = %s",
            [events[1].pk],
        )
    result = verify()
    assert result.first_bad == f"1 ({events[1].pk})"
    assert "does not match its hash" in result.reason


def test_an_entry_that_was_rewritten_with_its_hash_is_named(team: Team) -> None:
    events = written(team, 3)
    body = events[1].body.replace("Event 1", "Event 9")
    with tampering("audit_auditevent") as cursor:
        cursor.execute(
            "UPDATE audit_auditevent SET summary = 'Event 9.', body = %s, leaf_hash = %s "
            "WHERE id = %s",
            [body, leaf_hash(body.encode()), events[1].pk],
        )
    result = verify()
    assert result.first_bad == f"1 ({events[1].pk})"
    assert "leaf in the tree" in result.reason


def test_an_entry_rewritten_with_its_leaf_breaks_the_root(team: Team) -> None:
    events = written(team, 3)
    body = events[1].body.replace("Event 1", "Event 9")
    digest = leaf_hash(body.encode())
    with tampering("audit_auditevent", "audit_auditleaf") as cursor:
        cursor.execute(
            "UPDATE audit_auditevent SET summary = 'Event 9.', body = %s, leaf_hash = %s "
            "WHERE id = %s",
            [body, digest, events[1].pk],
        )
        cursor.execute("UPDATE audit_auditleaf SET leaf_hash = %s WHERE seq = 1", [digest])
    result = verify()
    assert not result.ok
    assert "root of the tree at size 3" in result.reason


@pytest.mark.parametrize("body", ["[]", "null", "no json", '{"v":1}'])
def test_a_body_that_is_no_entry_is_named_and_does_not_crash(team: Team, body: str) -> None:
    (event,) = written(team, 1)
    with tampering("audit_auditevent") as cursor:
        cursor.execute(
            "UPDATE audit_auditevent SET body = %s, leaf_hash = %s",
            [body, leaf_hash(body.encode())],
        )
    result = verify()
    assert not result.ok
    assert result.first_bad == f"0 ({event.pk})"


def test_a_removed_entry_leaves_a_gap_that_is_named(team: Team) -> None:
    events = written(team, 3)
    with tampering("audit_auditevent", "audit_auditleaf") as cursor:
        cursor.execute("DELETE FROM audit_auditleaf WHERE seq = 1")
        cursor.execute("DELETE FROM audit_auditevent WHERE id = %s", [events[1].pk])
    result = verify()
    assert result.first_bad == "1"
    assert "gap" in result.reason


def test_a_log_that_was_cut_short_is_named(team: Team) -> None:
    events = written(team, 3)
    with tampering("audit_auditevent", "audit_auditleaf") as cursor:
        cursor.execute("DELETE FROM audit_auditleaf WHERE seq = 2")
        cursor.execute("DELETE FROM audit_auditevent WHERE id = %s", [events[2].pk])
    result = verify()
    assert result.first_bad == "2"
    assert "once had 3 entries" in result.reason


def test_a_changed_head_is_named(team: Team) -> None:
    written(team, 3)
    with tampering("audit_audithead") as cursor:
        cursor.execute("UPDATE audit_audithead SET root_hash = %s", [b"\x00" * 32])
    assert "root of the tree" in verify().reason


def test_a_changed_frontier_is_named_before_the_tree_grows_on_it(team: Team) -> None:
    written(team, 3)
    with tampering("audit_audithead") as cursor:
        cursor.execute("UPDATE audit_audithead SET frontier = '[]'")
    result = verify()
    assert not result.ok
    assert "wrong nodes" in result.reason


def test_a_changed_entry_without_a_number_is_named_too(team: Team) -> None:
    written(team, 1)
    event = write(team)
    with tampering("audit_auditevent") as cursor:
        cursor.execute("UPDATE audit_auditevent SET actor_name = 'Ada' WHERE id = %s", [event.pk])
    assert verify().first_bad == str(event.pk)


# Reading


def test_history_for_several_objects_is_one_story_in_order(team: Team) -> None:
    other = Team.objects.create(name="Fraud")
    stranger = Team.objects.create(name="Legal")
    write(team, "First.")
    write(other, "Second.")
    write(stranger, "Elsewhere.")
    write(team, "Third.")
    story = selectors.history_for(team, other)
    assert [e.summary for e in story] == ["First.", "Second.", "Third."]
    assert not selectors.history_for().exists()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (selectors.Filters(), ["Second.", "First."]),
        (selectors.Filters(text="first"), ["First."]),
        (selectors.Filters(action="tests."), ["Second.", "First."]),
        (selectors.Filters(action="tests.happened"), ["Second.", "First."]),
        (selectors.Filters(action="tests"), []),
        (selectors.Filters(actor_id="somebody"), []),
        (selectors.Filters(text="fir\x00st"), ["First."]),
        (selectors.Filters(since=dt.datetime(2100, 1, 1, tzinfo=dt.UTC)), []),
        (selectors.Filters(until=dt.datetime(2000, 1, 1, tzinfo=dt.UTC)), []),
    ],
)
def test_a_page_shows_what_matches_newest_first(
    team: Team, filters: selectors.Filters, found: list[str]
) -> None:
    write(team, "First.")
    write(team, "Second.")
    assert [e.summary for e in selectors.page(filters)] == found
