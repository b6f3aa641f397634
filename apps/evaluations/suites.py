"""The verbs of suites: import one, edit it into its next revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core.batches import batched
from apps.core.errors import Conflict, InvalidInput
from apps.evaluations import payloads, stored, suitefile
from apps.evaluations.models import Suite, SuiteCase, SuiteRevision

CASES_AT_ONCE = 1000
EDITABLE = frozenset(
    {
        *("name", "summary", "not_measured", "license", "source", "personal_data"),
        *("prompt", "defaults", "images", "scorers", "metrics"),
    }
)


def _require(actor: Any, action: str, obj: Any) -> None:
    if actor is not SYSTEM:
        require(actor, action, obj)


def _person(actor: Any) -> Any:
    return None if actor is SYSTEM else actor


def import_suite(
    *,
    actor: Actor,
    suite: suitefile.Suite,
    reason: str = "",
    origin: Mapping[str, Any] | None = None,
) -> tuple[SuiteRevision, bool]:
    """Store a checked suite as a new revision. The same content again gives the stored revision
    and False. `origin` says which file of another tool it was read from, and what that lost.
    Raises NotAllowed, and InvalidInput for an image that is nowhere."""
    row = Suite.objects.filter(slug=suite.slug).first()
    _require(actor, "suite.edit", row or Suite(slug=suite.slug))
    if missing := stored.missing_images(suite):
        raise InvalidInput(
            f"The image {missing[0]} did not come with the suite and is not stored.",
            field="images",
            remedy="Import the folder with its images, or a file that holds them as 'data'.",
        )
    with transaction.atomic():
        payloads.put_many(suite.image_data.values())
        Suite.objects.bulk_create(
            [Suite(slug=suite.slug, name=suite.name, summary=suite.summary)],
            ignore_conflicts=True,
        )
        row = Suite.objects.select_for_update().get(slug=suite.slug)
        known = row.revisions.filter(content_hash=suite.content_hash).first()
        if known is not None:
            return known, False
        latest = row.revisions.aggregate(latest=Max("number"))["latest"] or 0
        if (row.name, row.summary) != (suite.name, suite.summary):
            row.name, row.summary = suite.name, suite.summary
            row.save_versioned("name", "summary")
        revision = SuiteRevision.objects.create(
            suite=row,
            number=latest + 1,
            content_hash=suite.content_hash,
            document=stored.document_of(suite),
            case_count=len(suite.cases),
            imported_by=_person(actor),
            reason=reason.strip()[:2000],
            origin=dict(origin or {}),
        )
        _store_cases(revision, suite.cases)
        record(
            "evaluations.suite_imported",
            actor=actor,
            obj=revision,
            summary=f"Imported {revision} ({len(suite.cases)} cases)."
            + (f" {revision.reason}" if revision.reason else ""),
            changes={
                "content_hash": suite.content_hash,
                "cases": len(suite.cases),
                **({"reason": revision.reason} if revision.reason else {}),
                **({"origin": revision.origin} if revision.origin else {}),
            },
        )
    return revision, True


def _store_cases(revision: SuiteRevision, cases: Sequence[suitefile.Case]) -> None:
    # The rows of 100,000 cases would take more memory than the cases: a thousand at a time.
    for batch in batched(enumerate(cases), CASES_AT_ONCE):
        SuiteCase.objects.bulk_create(
            SuiteCase(
                revision=revision,
                position=position,
                case_id=case.id,
                content_hash=case.content_hash,
                document=case.canonical(),
            )
            for position, case in batch
        )


def revise(
    *,
    actor: Actor,
    revision: SuiteRevision,
    reason: str,
    set_cases: Sequence[Mapping[str, Any]] = (),
    remove_cases: Sequence[str] = (),
    changes: Mapping[str, Any] | None = None,
) -> tuple[SuiteRevision, bool]:
    """The next revision: `revision`, which must be the newest, with cases put in (in the place of
    the one with their id, else at the end) or taken out, and other keys of its document replaced.

    Raises NotAllowed, InvalidInput (reason, unknown case), Conflict where somebody else saved a
    newer revision, and SuiteError where the suite's own rules would be broken.
    """
    _require(actor, "suite.edit", revision.suite)
    if not reason.strip():
        raise InvalidInput(
            "Say why this is changed.", field="reason", remedy="One sentence for the history."
        )
    suite = changed(revision, set_cases=set_cases, remove_cases=remove_cases, changes=changes or {})
    with transaction.atomic():
        row = Suite.objects.select_for_update().get(pk=revision.suite_id)
        newest = row.revisions.order_by("-number").first()
        if newest is None or newest.pk != revision.pk:
            raise Conflict(
                f"Somebody saved revision {newest.number if newest else 0} meanwhile.",
                field="revision",
                remedy="Reload, and make your change on the newest revision.",
                code="stale_version",
            )
        saved, created = import_suite(actor=actor, suite=suite, reason=reason)
        if not created and saved.pk != revision.pk:
            raise Conflict(
                f"This is exactly revision {saved.number}, which is stored already.",
                field="revision",
                remedy="Run that revision; or change a note, so that this is another one.",
            )
        return saved, created


def changed(
    revision: SuiteRevision,
    *,
    set_cases: Sequence[Mapping[str, Any]] = (),
    remove_cases: Sequence[str] = (),
    changes: Mapping[str, Any],
) -> suitefile.Suite:
    """The suite as it would be, checked whole; nothing is stored. Raises InvalidInput and
    SuiteError."""
    document = stored.suite_of(revision).canonical()
    unknown = sorted(set(changes) - EDITABLE)
    if unknown:
        raise InvalidInput(
            f"'{unknown[0][:40]}' cannot be changed here.",
            field=unknown[0][:40],
            remedy=f"Known: {', '.join(sorted(EDITABLE))}. Cases are set and removed one by one.",
        )
    for key, value in changes.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value
    cases = {case["id"]: case for case in document["cases"]}
    for case_id in remove_cases:
        if cases.pop(case_id, None) is None:
            raise InvalidInput(
                f"There is no case '{str(case_id)[:80]}'.", field="remove_cases", remedy="Reload."
            )
    for case in set_cases:
        cases[str(case.get("id", ""))] = dict(case)
    document["cases"] = list(cases.values())
    return suitefile.parse_document(document, filename=revision.suite.slug)
