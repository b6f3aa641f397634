"""Verbs of vendors: write down what they announced, and judge a change by it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.db import transaction

from apps.accounts.permissions import can, require
from apps.audit.services import SYSTEM, Actor, record
from apps.core.errors import InvalidInput, NotAllowed
from apps.core.inputs import moment, text
from apps.drift.models import ChangeEvent
from apps.registry.models import ModelVersion, Provider
from apps.vendors.models import Notice

# How far from the observed window a vendor's date may lie and still mean this change.
NEAR = dt.timedelta(days=14)
WEB = URLValidator(schemes=["http", "https"])


@transaction.atomic
def record_notice(
    *,
    actor: Any,
    provider: Provider,
    title: str,
    summary: str = "",
    url: str = "",
    model_names: Iterable[str] = (),
    announced_at: dt.datetime,
    effective_at: dt.datetime,
) -> Notice:
    """Write an announcement down, and judge the provider's open changes again by it.

    Raises NotAllowed or InvalidInput (no name of a model, no time zone, not a web address).
    """
    require(actor, "notice.record")
    if not can(actor, "notice.record", provider):
        raise NotAllowed(
            "Your role covers one team, and notices belong to the whole organisation.",
            remedy="Ask a governance lead or an administrator.",
        )
    names = _names(model_names)
    announced, effective = (
        moment(announced_at, "announced_at"),
        moment(effective_at, "effective_at"),
    )
    assert announced is not None
    assert effective is not None
    notice = Notice.objects.create(
        provider=provider,
        title=text(title, "title", most=300),
        summary=text(summary, "summary", required=False),
        url=_url(url),
        model_names=names,
        announced_at=announced,
        effective_at=effective,
        recorded_by_name=actor.name[:300],
    )
    record(
        "vendors.notice_recorded",
        actor=actor,
        obj=notice,
        object_name=notice.title,
        summary=f"{actor.name} recorded a notice of {provider}: {notice.title}",
        changes={
            "models": names,
            "announced_at": announced,
            "effective_at": effective,
            "url": notice.url,
        },
    )
    open_events = ChangeEvent.objects.filter(
        state=ChangeEvent.State.OPEN, model_version__model__provider=provider
    )
    for event in open_events.order_by("number"):
        _classify(event, actor)
    return notice


@transaction.atomic
def classify(*, change_event: ChangeEvent) -> ChangeEvent:
    """Was it announced? Idempotent: an entry is written only when the answer changes.

    Announced: a notice that names the version's model, out before the window began, effective
    within 14 days of it. Late: such a notice, but out only afterwards. Else silent.
    """
    return _classify(change_event, SYSTEM)


def _classify(change_event: ChangeEvent, actor: Actor) -> ChangeEvent:
    event = (
        ChangeEvent.objects.select_for_update(no_key=True, of=("self",))
        .select_related("model_version__model__provider")
        .get(pk=change_event.pk)
    )
    kind, notice = _kind_of(event)
    if kind == event.kind:
        return event
    before, event.kind = event.kind, kind
    event.save_versioned("kind")
    because = f"by the notice “{notice.title}”" if notice else "no notice of it is known"
    record(
        "vendors.change_classified",
        actor=actor,
        obj=event,
        summary=f"Change {event} of {event.model_version} is "
        f"{event.get_kind_display().lower()}: {because}.",
        changes={"kind": [before, kind], "notice": str(notice.pk) if notice else None},
    )
    return event


def _kind_of(event: ChangeEvent) -> tuple[ChangeEvent.Kind, Notice | None]:
    notices = Notice.objects.filter(
        provider_id=event.model_version.model.provider_id,
        effective_at__gte=event.window_start - NEAR,
        effective_at__lte=event.window_end + NEAR,
    ).order_by("announced_at", "id")
    names = _names_of(event.model_version)
    for notice in notices:  # the earliest announcement decides
        if names & {name.casefold() for name in notice.model_names}:
            early = notice.announced_at <= event.window_start
            return (ChangeEvent.Kind.ANNOUNCED if early else ChangeEvent.Kind.LATE), notice
    return ChangeEvent.Kind.SILENT, None


def _names_of(version: ModelVersion) -> set[str]:
    return {name.casefold() for name in (version.requested_name, version.model.name)}


def _names(given: Iterable[str]) -> list[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InvalidInput(
            "“model_names” must be a list of names.",
            field="model_names",
            remedy='E.g. ["assistant-instant"].',
        )
    names = list(dict.fromkeys(text(name, "model_names", most=300) for name in given))
    if len(names) > 200:
        raise InvalidInput(
            "A notice names at most 200 models.",
            field="model_names",
            remedy="Give the names as they are requested, or the family's name.",
        )
    return names


def _url(value: Any) -> str:
    url = text(value, "url", required=False, most=200)
    try:
        if url:
            WEB(url)
    except ValidationError:
        raise InvalidInput(
            "This is not a web address.", field="url", remedy="E.g. https://example.com/changes."
        ) from None
    return url
