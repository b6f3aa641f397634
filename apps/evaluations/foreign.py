"""Recorded answers of another tool's file become runs: complete, scored, and never asked again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import rfc8785
from django.db import transaction

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, Actor, record
from apps.core import clock
from apps.core.errors import Conflict, InvalidInput
from apps.core.ids import uuid7
from apps.evaluations import finishing, payloads, scoring
from apps.evaluations.imports import RecordedAnswer
from apps.evaluations.models import Run, RunState, Sample, SampleStatus, Score, SuiteRevision
from apps.evaluations.partitions import ensure_month
from apps.evaluations.scorers import Answer
from apps.evaluations.scorers.base import storable_text
from apps.evaluations.stored import case_of
from apps.evaluations.style import style_profile
from apps.registry.models import ModelVersion

MAX_SLOTS = 100_000
SEALED = "Its answers were recorded elsewhere and imported."
TIMES = ("%m/%d/%Y, %H:%M:%S", "%m/%d/%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S")


def store_answers(
    *,
    actor: Actor,
    model_version: ModelVersion,
    suite_revision: SuiteRevision,
    answers: Sequence[RecordedAnswer],
    source: str,
    purpose: str = Run.Purpose.MANUAL,
) -> Run:
    """Keep recorded answers as one complete run, scored like every other, and never asked again.

    A slot for which nothing was recorded is an error of kind 'not_recorded', not a hole. The run
    says where its answers come from. Raises NotAllowed, InvalidInput and Conflict.
    """
    if actor is not SYSTEM:
        require(actor, "run.start", model_version)
    by_slot = _slots(answers)
    replicates = max((replicate for _, replicate in by_slot), default=0) + 1
    cases = list(suite_revision.cases.order_by("position"))
    known = {case.case_id for case in cases}
    strangers = sorted({name for name, _ in by_slot} - known)
    if strangers or not by_slot:
        raise InvalidInput(
            f"The suite has no case '{strangers[0][:80]}'." if by_slot else "There is no answer.",
            field="answers",
            remedy="Import the suite from the same file.",
        )
    slots = len(cases) * replicates
    if slots > MAX_SLOTS or replicates > 100:
        raise InvalidInput(
            f"These would be {slots:,} answers; the most is {MAX_SLOTS:,}.",
            field="answers",
            remedy="Split the recording.",
        )
    if Run.objects.filter(
        model_version=model_version, suite_revision=suite_revision, reason=source
    ).exists():
        raise Conflict(
            "These answers are stored already as a run of this version.",
            field="answers",
            remedy="Look at that run.",
        )
    now = clock.now()
    month = clock.month_of(now)
    ensure_month(month)
    times = sorted(filter(None, (moment_of(a.answered_at) for a in answers)))
    with transaction.atomic():
        run = Run.objects.create(
            model_version=model_version,
            suite_revision=suite_revision,
            purpose=purpose,
            replicates=replicates,
            month=month,
            total_slots=slots,
            state=RunState.RUNNING,
            reason=source,
            sealed=SEALED,
            client_version="recorded elsewhere",
            requested_by=_person(actor),
            started_at=times[0] if times else now,
        )
        plan = scoring.plan_of(suite_revision)
        samples, scores, bodies = [], [], []
        for replicate in range(replicates):
            for case in cases:
                answer = by_slot.get((case.case_id, replicate))
                body = _body(case.document, answer)
                sample = _sample(run, case, replicate, answer, body, now)
                samples.append(sample)
                bodies.append(body)
                if sample.status == SampleStatus.ANSWERED:
                    results = plan.results(case_of(case), Answer(sample.text, [], None))
                    scores += scoring.scores_of(run=run, sample=sample, results=results)
        payloads.put_many(bodies)
        Sample.objects.bulk_create(samples, batch_size=1000)
        Score.objects.bulk_create(scores, batch_size=2000)
        record(
            "evaluations.answers_imported",
            actor=actor,
            obj=run,
            object_name=finishing.name_of(run),
            summary=f"Imported {len(by_slot)} recorded answers: {finishing.name_of(run)}.",
            changes={"source": source, "answers": len(by_slot), "slots": slots},
        )
        finishing.move(run, "complete", actor=actor, summary="Completed")
    return run


def _person(actor: Any) -> Any:
    return None if actor is SYSTEM else actor


def _slots(answers: Sequence[RecordedAnswer]) -> dict[tuple[str, int], RecordedAnswer]:
    """Raises InvalidInput where two answers claim one slot."""
    slots: dict[tuple[str, int], RecordedAnswer] = {}
    for answer in answers:
        key = (answer.case_id, answer.replicate)
        if key in slots:
            raise InvalidInput(
                f"Two answers stand for case '{answer.case_id[:80]}', replicate "
                f"{answer.replicate + 1}.",
                field="answers",
                remedy="Keep one of them, or take one model at a time.",
            )
        slots[key] = answer
    return slots


def _body(document: dict[str, Any], answer: RecordedAnswer | None) -> bytes:
    """What stands in the place of the request: what the recording says was asked."""
    asked: dict[str, Any] = {"recorded": True, "case": document}
    if answer is not None:
        asked |= {"model": answer.model, "parameters": answer.parameters}
    try:
        return rfc8785.dumps(asked)
    except (rfc8785.CanonicalizationError, UnicodeError):
        return rfc8785.dumps({"recorded": True, "case": document})


def _sample(
    run: Run,
    case: Any,
    replicate: int,
    answer: RecordedAnswer | None,
    body: bytes,
    now: dt.datetime,
) -> Sample:
    missing = answer is None
    error = "Nothing was recorded for this slot." if answer is None else answer.error
    text = storable_text(answer.text) if answer is not None and not error else ""
    return Sample(
        month=run.month,
        id=uuid7(),
        run=run,
        case=case,
        replicate=replicate,
        status=SampleStatus.ERROR if error else SampleStatus.ANSWERED,
        error_kind=("not_recorded" if missing else "recorded_error") if error else "",
        error_message=storable_text(error),
        text=text,
        finish_reason=answer.finish_reason[:40] if answer else "",
        request_digest=payloads.digest_of(body),
        prompt_tokens=answer.prompt_tokens if answer else None,
        completion_tokens=answer.completion_tokens if answer else None,
        latency_ms=answer.latency_ms if answer else None,
        returned_model=storable_text(answer.model)[:300] if answer else "",
        style=style_profile(text) if not error else {},
        answered_at=(moment_of(answer.answered_at) if answer else None) or now,
    )


def moment_of(text: str) -> dt.datetime | None:
    """A recorded time; without a zone it is taken as UTC. None where it cannot be read."""
    if not text:
        return None
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        for form in TIMES:
            try:
                moment = dt.datetime.strptime(text, form)  # noqa: DTZ007 (the zone comes below)
                break
            except ValueError:
                continue
        else:
            return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
