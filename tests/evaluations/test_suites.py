"""Suites become immutable revisions, by their content."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from django.db import Error, transaction

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.audit.services import SYSTEM
from apps.core.errors import NotAllowed
from apps.evaluations import services, stored
from apps.evaluations.models import Suite, SuiteCase, SuiteRevision
from tests.fixtures.evaluations import make_owner, make_revision, make_suite, make_user

pytestmark = pytest.mark.django_db


def test_the_same_content_again_gives_the_stored_revision() -> None:
    suite = make_suite(3)

    first, created = services.import_suite(actor=make_owner(), suite=suite)
    again, created_again = services.import_suite(actor=make_owner(), suite=suite)

    assert (created, created_again) == (True, False)
    assert again == first
    assert AuditEvent.objects.filter(action="evaluations.suite_imported").count() == 1


def test_changed_content_is_the_next_revision_and_renames_the_suite() -> None:
    make_revision(3)
    second = make_revision(3, name="Claims triage, reworded")

    assert second.number == 2
    assert Suite.objects.get().name == "Claims triage, reworded"


def test_a_stored_revision_gives_back_the_suite_that_was_imported() -> None:
    suite = make_suite(3)
    revision, _ = services.import_suite(actor=make_owner(), suite=suite)

    assert stored.suite_of(revision) == suite
    assert stored.suite_of(revision).content_hash == revision.content_hash


def test_storing_four_times_the_cases_takes_no_more_memory() -> None:
    def peak(cases: int) -> int:
        suite = make_suite(cases, slug=f"many-{cases}")
        gc.collect()
        tracemalloc.start()
        try:
            revision, _ = services.import_suite(actor=SYSTEM, suite=suite)
            held, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert revision.cases.count() == cases
        return most - held

    peak(10)  # what is made once
    assert peak(8_000) < 2 * peak(2_000)


def test_an_auditor_may_not_import_a_suite() -> None:
    with pytest.raises(NotAllowed):
        services.import_suite(actor=make_user(Role.AUDITOR), suite=make_suite(1))
    assert not Suite.objects.exists()


@pytest.mark.parametrize("model", [SuiteRevision, SuiteCase])
def test_the_database_refuses_to_change_a_stored_suite(
    model: type[SuiteRevision] | type[SuiteCase],
) -> None:
    make_revision(1)

    with pytest.raises(Error, match="immutable"), transaction.atomic():
        model.objects.update(content_hash="sha256:0")
