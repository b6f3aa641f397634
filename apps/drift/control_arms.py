"""A control arm: is it the vendor, or is it us?

A pinned version that nobody may change (an open-weights model of one's own, a snapshot) is rerun on
the same suites, through the same client and scorers. When it moves together with the version under
watch, the change is on our side until shown otherwise: the harness, a scorer, the judge, the
suite's service. The change event says so, and stays open for people to decide.
"""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from django.db import transaction

from apps.accounts.permissions import require
from apps.audit.services import SYSTEM, record
from apps.core.errors import Conflict, InvalidInput
from apps.drift.models import ChangeEvent, Comparison, ControlArm, ControlFinding
from apps.evaluations.services import start_urgent_runs
from apps.registry.models import ModelVersion

# How far apart two runs may lie and still have met the same harness.
NEAR = dt.timedelta(days=2)


@transaction.atomic
def add_control(
    *, actor: Any, model_version: ModelVersion, control_version: ModelVersion
) -> ControlArm:
    """Watch `control_version` as the control of `model_version`. Both need a schedule on the same
    suite revisions to be of use. Raises NotAllowed, InvalidInput, Conflict."""
    require(actor, "schedule.edit", model_version)
    require(actor, "view", control_version)
    if control_version.pk == model_version.pk:
        raise InvalidInput(
            "A version cannot be its own control.",
            field="control_version",
            remedy="Choose a pinned version that nobody changes, best of another provider.",
        )
    if control_version.pin_kind == ModelVersion.PinKind.ALIAS:
        raise InvalidInput(
            "An alias may move by itself, so it controls nothing.",
            field="control_version",
            remedy="Choose a version pinned to a snapshot or a digest.",
        )
    arm, created = ControlArm.objects.get_or_create(
        model_version=model_version,
        control_version=control_version,
        defaults={"created_by": actor},
    )
    if not created:
        raise Conflict(
            f"{control_version} controls {model_version} already.",
            field="control_version",
            remedy="Nothing is left to do.",
        )
    record(
        "drift.control_added",
        actor=actor,
        obj=arm,
        object_name=f"{control_version} for {model_version}",
        summary=f"{actor.name} made {control_version} the control of {model_version}.",
    )
    return arm


@transaction.atomic
def remove_control(*, actor: Any, arm: ControlArm) -> None:
    """Findings stay. Raises NotAllowed."""
    require(actor, "schedule.edit", arm.model_version)
    record(
        "drift.control_removed",
        actor=actor,
        obj=arm,
        object_name=f"{arm.control_version} for {arm.model_version}",
        summary=f"{actor.name} took {arm.control_version} off the control of {arm.model_version}.",
    )
    arm.delete()


def ask(*, change_event: ChangeEvent) -> int:
    """A change was found: have the controls rerun at once. Returns runs started. Idempotent."""
    arms = ControlArm.objects.filter(model_version=change_event.model_version_id)
    return sum(
        len(
            start_urgent_runs(
                model_version=arm.control_version,
                reason=f"Control for change {change_event}: does {arm.control_version} move too?",
                key=f"control:{change_event.pk}",
            )
        )
        for arm in arms.select_related("control_version")
    )


def judge(*, comparison: Comparison) -> list[ControlFinding]:
    """After a comparison of either: hold the two beside each other on the same suite revision.
    Each control speaks once for a change event and suite revision. Idempotent."""
    version = comparison.baseline.model_version_id
    arms = [
        *ControlArm.objects.filter(control_version=version),
        *ControlArm.objects.filter(model_version=version),
    ]
    made = []
    for arm in arms:
        event = ChangeEvent.objects.filter(
            model_version=arm.model_version_id, state=ChangeEvent.State.OPEN
        ).first()
        if event is not None and (finding := _judge(event, arm, comparison)):
            made.append(finding)
    return made


@transaction.atomic
def _judge(event: ChangeEvent, arm: ControlArm, told: Comparison) -> ControlFinding | None:
    event = ChangeEvent.objects.select_for_update().get(pk=event.pk)
    revision = told.baseline.suite_revision_id
    theirs = (
        Comparison.objects.filter(
            baseline__model_version=arm.control_version_id,
            baseline__suite_revision=revision,
            baseline__retired_at__isnull=True,
            run__finished_at__gte=event.window_end - NEAR,
        )
        .select_related("baseline__suite_revision__suite")
        .order_by("-created_at")
        .first()
    )
    moved = event.comparisons.filter(baseline__suite_revision=revision).exists()
    if theirs is None or not moved:
        return None
    together = theirs.log_e >= -math.log(theirs.alpha)
    suite = theirs.baseline.suite_revision.suite.name
    sentence = (
        f"The control {arm.control_version} moved too on {suite}: look at the harness, the scorers "
        "and the suite before blaming the provider."
        if together
        else f"The control {arm.control_version} did not move on {suite}."
    )
    finding, created = ControlFinding.objects.get_or_create(
        change_event=event,
        comparison=theirs,
        defaults={
            "control_version": arm.control_version,
            "together": together,
            "sentence": sentence,
        },
    )
    # Each comparison of a suite writes the event's sentence anew: what the control said follows it.
    bare = event.sentence
    for said in event.control_findings.filter(control_version=arm.control_version):
        bare = bare.replace(f" {said.sentence}", "")
    if event.sentence != (whole := f"{bare} {sentence}"):
        event.sentence = whole
        event.save_versioned("sentence")
    if not created:
        return None
    record(
        "drift.control_judged",
        actor=SYSTEM,
        obj=event,
        summary=f"Change {event}: {sentence}",
        changes={"control": str(arm.control_version_id), "together": together},
    )
    return finding
