"""The database itself refuses to change what the design calls immutable."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db import IntegrityError, connection, transaction

from apps.audit.services import SYSTEM, record, sequence
from apps.evaluations.models import Run, Sample
from apps.evaluations.partitions import ensure_month
from apps.tickets import policy
from tests.fixtures.evaluations import make_revision
from tests.world import World, approve

MONTH = dt.date(2026, 1, 1)
# Table -> an UPDATE that would change a row of it.
IMMUTABLE = {
    "audit_auditevent": "summary = 'x'",
    "audit_auditleaf": "sequenced_at = now()",
    "audit_audithead": "created_at = now()",
    "registry_modelversion": "label = 'x'",
    "registry_assumption": "threshold = 0",
    "evaluations_suiterevision": "number = 99",
    "evaluations_suitecase": "position = 99",
    "evaluations_sample": "text = 'x'",
    "evaluations_sample_2026_01": "text = 'x'",
    "tickets_controlpolicy": "reason = 'x'",
}


@pytest.fixture
def rows(world: World) -> None:
    """One row or more in each of these tables."""
    approve(world)
    policy.current()
    revision = make_revision(1)
    ensure_month(MONTH)
    run = Run.objects.create(
        model_version=world.version,
        suite_revision=revision,
        purpose="manual",
        replicates=1,
        month=MONTH,
        total_slots=1,
    )
    Sample.objects.create(
        month=MONTH,
        run=run,
        case=revision.cases.get(),
        replicate=0,
        status="answered",
        text="motor",
        request_digest=b"\x00" * 32,
    )
    record("tests.happened", actor=SYSTEM, obj=world.use_case, summary="Something happened.")
    sequence()
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # TRUNCATE wants none to be pending


def refused(statement: str) -> None:
    with (
        pytest.raises(IntegrityError, match="immutable"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@pytest.mark.parametrize("table", IMMUTABLE)
def test_a_written_row_can_be_neither_changed_nor_deleted_nor_truncated(
    rows: None, table: str
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        assert cursor.fetchone()[0] > 0, "the test would prove nothing"
    refused(f'UPDATE "{table}" SET {IMMUTABLE[table]}')
    refused(f'DELETE FROM "{table}"')
    refused(f'TRUNCATE "{table}" CASCADE')
