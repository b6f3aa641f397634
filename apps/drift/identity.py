"""Layer 1, identity: what an endpoint says that it is, facet by facet, as an e-process.

Facets come free with what is asked anyhow: the list of models once an hour, and names,
fingerprints and prompt token counts of fixed texts with every round of another probe.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from apps.audit.services import SYSTEM, record
from apps.core.models import Outbox
from apps.drift.models import IdentityFinding, Probe, ProbePhase
from apps.drift.probes_prompts import PROBES, PROMPTS_REVISION
from apps.drift.probing_calls import LIMIT_HEADERS, Answer, Catalogue
from apps.drift.stats.probes_identity import IdentityWatch, News

FACETS = (
    "returned_model",
    "system_fingerprint",
    "catalogue",
    "catalogue_created",
    "headers",
    "limits",
    "token_counts",
)
PASSIVE_FACETS = ("returned_model", "system_fingerprint")
# Headers that say something about the server and not about the request.
STABLE_HEADERS = ("server", "openai-version", "x-model-version")
BASELINE_ROUNDS = 5
LABELS = {
    "returned_model": "served model name",
    "system_fingerprint": "system fingerprint",
    "catalogue": "entry in the list of models",
    "catalogue_created": "creation date in the list of models",
    "headers": "server headers",
    "limits": "rate limits",
    "token_counts": "token counts of fixed texts (tokenizer)",
}
MOST_TEXT = 2000


def of_catalogue(catalogue: Catalogue) -> dict[str, set[str]]:
    """Facets of one look at the list of models; {} when it could not be read."""
    if catalogue.problem:
        return {}
    entry = catalogue.entry
    seen: dict[str, set[str]] = {"catalogue": {_plain(_lasting(entry))}}
    if entry and "created" in entry:
        seen["catalogue_created"] = {_plain(entry["created"])}
    headers = {k: v for k, v in catalogue.headers.items() if k in STABLE_HEADERS}
    limits = {k: v for k, v in catalogue.headers.items() if k in LIMIT_HEADERS}
    seen["headers"] = {_plain(headers)}
    if limits:
        seen["limits"] = {_plain(limits)}
    return seen


def _lasting(entry: dict[str, Any] | None) -> Any:
    """Without what some servers make up for every answer."""
    if entry is None:
        return "not listed"
    return {k: v for k, v in entry.items() if k not in ("created", "permission", "status")}


def of_answers(answers: Collection[Answer], *, fixed: bool) -> dict[str, set[str]]:
    """Facets of a round of answers. fixed: it asked the fixed texts, so that token counts can be
    compared from round to round (only where all of them were counted)."""
    seen: dict[str, set[str]] = {
        "returned_model": {a.returned_model for a in answers if a.returned_model},
        "system_fingerprint": {a.system_fingerprint for a in answers if a.system_fingerprint},
    }
    counts = {a.prompt: a.prompt_tokens for a in answers if a.prompt_tokens is not None}
    if fixed and all(text in counts for text in PROBES):
        listed = ",".join(str(counts[text]) for text in PROBES)
        seen["token_counts"] = {f"{PROMPTS_REVISION}: {listed}"}
    return {facet: values for facet, values in seen.items() if values}


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)[:MOST_TEXT]


def watch_of(probe: Probe, facets: Collection[str] = FACETS) -> IdentityWatch:
    if probe.state:
        return IdentityWatch.from_state(probe.state)
    return IdentityWatch(key=str(probe.pk), facets=facets, baseline=BASELINE_ROUNDS)


def observe(
    probe: Probe,
    *,
    round_key: str,
    seen: Mapping[str, Collection[str]],
    at: dt.datetime,
    facets: Collection[str] = FACETS,
) -> list[News]:
    """One look of a locked identity probe: its e-process moves, and news become findings. The
    caller saves the probe. A telling finding has the suites run at once (see `probes_events`)."""
    watch = watch_of(probe, facets)
    news = watch.observe_round(round_key, seen)
    probe.state = watch.to_state()
    probe.log_e, probe.max_log_e = watch.log_e, watch.max_log_e
    if watch.rounds >= watch.baseline:
        probe.phase = ProbePhase.WATCHING
    for item in news:
        finding, created = IdentityFinding.objects.get_or_create(
            probe=probe,
            facet=item.facet,
            value_hash=hashlib.sha256(item.value.encode()).hexdigest(),
            defaults={
                "model_version": probe.model_version,
                "value": item.value,
                "known": list(item.known)[:50],
                "surprise": min(item.surprise, 1.0),
                "telling": item.telling,
                "seen_at": at,
            },
        )
        if not created:
            continue
        record(
            "drift.identity_finding",
            actor=SYSTEM,
            obj=finding,
            object_name=f"{LABELS[item.facet]} of {probe.model_version}",
            summary=sentence_of(finding),
            changes={"facet": item.facet, "value": item.value, "surprise": item.surprise},
        )
        if item.telling:
            Outbox.put("identity.changed", finding.pk, finding_id=str(finding.pk))
    return news


def sentence_of(finding: IdentityFinding) -> str:
    """What was seen, beside what was known, and how surprising that is."""
    before = ", ".join(f"“{_short(v)}”" for v in finding.known[:3]) or "nothing"
    if len(finding.known) > 3:
        before += f" and {len(finding.known) - 3} more"
    tail = (
        f"if nothing had changed, a round this strange would come up in at most "
        f"{finding.surprise * 100:.2g} % of rounds"
        if finding.telling
        else "new values are routine for this endpoint"
    )
    return (
        f"A new {LABELS[finding.facet]}: “{_short(finding.value)}” (known so far: {before}); "
        f"{tail}."
    )


def _short(value: str) -> str:
    return value if len(value) <= 80 else f"{value[:77]}…"
