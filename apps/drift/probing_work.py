"""What a claimed probe asks, and how its answers move its e-process."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import socket
import time
import uuid
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction

from apps.core import clock
from apps.drift import identity, probing, probing_calls
from apps.drift.models import Probe, ProbeKind, ProbePhase, ProbeRound
from apps.drift.probes_prompts import PROBES, PROMPTS_REVISION, candidates
from apps.drift.probing import Claim
from apps.drift.probing_calls import Answer, Asked
from apps.drift.stats.probes import ProbeWatch, coverage_gaps
from apps.drift.stats.probes_sampling import SamplingWatch, sampling_scores
from apps.drift.stats.ranks import recorded_uniform

log = structlog.get_logger(__name__)
REFERENCES, CALIBRATION = 6, 20
LEAST_ANSWERS = 0.5
SCREENED_AT_ONCE, SCREEN_DRAWS, SCREEN_TEMPERATURE, SCREEN_ROUNDS = 40, 3, 0.1, 4
BORDER_WANTED, BORDER_COVERAGE = 20, 1 / 3
SAMPLED_TOKENS, SAMPLED_AT_ONCE, SAMPLED_EACH = 16, 5, 10


def work(*, seconds: float = 40.0) -> int:
    """Work off due probes, one after the other, for about `seconds`. Returns rounds stored."""
    owner = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
    deadline, stored = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        claims = probing.claim(owner=owner)
        if not claims:
            break
        stored += work_off(claims[0]) is not None
    return stored


def work_off(claimed: Claim) -> ProbeRound | None:
    """Ask one claimed round and store it. None where the lease was lost meanwhile."""
    kind = claimed.probe.kind
    if kind == ProbeKind.IDENTITY:
        return _identity(claimed)
    if kind == ProbeKind.LOGPROB:
        return _logprob(claimed)
    if kind == ProbeKind.BORDER:
        return _border(claimed)
    return _sampling(claimed)


def _at_once(probe: Probe, due_at: dt.datetime) -> int:
    """One, two or four at a time, drawn for each round: the probe makes some of the load itself,
    so that its baseline holds answers that were computed beside others."""
    drawn = recorded_uniform(str(probe.pk), "at once", due_at.isoformat())
    return min((1, 2, 4)[int(drawn * 3)], probe.model_version.endpoint.max_concurrency)


def _identity(claimed: Claim) -> ProbeRound | None:
    started = clock.now()
    found = probing_calls.catalogue(claimed.probe.model_version)
    seen = identity.of_catalogue(found)
    with transaction.atomic():
        probe = probing.lock(claimed)
        if probe is None:
            return None
        phase, before = probe.phase, probe.log_e
        if seen:
            identity.observe(probe, round_key=_key(probe), seen=seen, at=started)
        probe.note = found.problem
        return probing.store_round(
            probe,
            due_at=claimed.due_at,
            phase=phase,
            asked=1,
            answered=int(bool(seen)),
            tokens=0,
            latency_ms=found.latency_ms,
            answers={k: sorted(v) for k, v in seen.items()},
            ranks={"log_e_increment": probe.log_e - before},
            started_at=started,
            problem=found.problem,
        )


def _key(probe: Probe) -> str:
    return f"round {probe.rounds + 1}"


def _store(
    claimed: Claim,
    probe: Probe,
    asked: Asked,
    *,
    phase: str,
    answers: Any,
    ranks: Any,
    started: dt.datetime,
    at_once: int,
    fixed: bool,
) -> ProbeRound:
    row = probing.store_round(
        probe,
        due_at=claimed.due_at,
        phase=phase,
        asked=asked.asked,
        answered=len(asked.answers),
        tokens=asked.tokens,
        latency_ms=asked.latency_ms,
        answers=answers,
        ranks=ranks,
        started_at=started,
        at_once=at_once,
        problem=asked.problem,
    )
    tell_identity(probe, asked.answers, at=started, fixed=fixed)
    return row


def tell_identity(probe: Probe, answers: list[Answer], *, at: dt.datetime, fixed: bool) -> None:
    """Names, fingerprints and token counts of a round are a round of the identity probe, free."""
    seen = identity.of_answers(answers, fixed=fixed)
    listening = (
        Probe.objects.select_for_update(of=("self",))
        .select_related("model_version")
        .filter(
            model_version=probe.model_version_id,
            kind=ProbeKind.IDENTITY,
            retired_at__isnull=True,
            enabled=True,
        )
        .first()
    )
    if listening is None or not seen:
        return
    phase, before = listening.phase, listening.log_e
    identity.observe(listening, round_key=_key(listening), seen=seen, at=at)
    lease = listening.lease_owner, listening.lease_until
    probing.store_round(
        listening,
        due_at=at,
        phase=phase,
        asked=0,
        answered=len(answers),
        tokens=0,
        latency_ms=None,
        answers={k: sorted(v) for k, v in seen.items()},
        ranks={"log_e_increment": listening.log_e - before, "with": probe.kind},
        started_at=at,
    )
    # Somebody may be asking for the list of models just now: their lease stays theirs.
    listening.lease_owner, listening.lease_until = lease
    listening.save_versioned("lease_owner", "lease_until")


# One-token log-probabilities


def _logprob(claimed: Claim) -> ProbeRound | None:
    version, started = claimed.probe.model_version, clock.now()
    at_once = _at_once(claimed.probe, claimed.due_at)
    requests = [(text, probing_calls.build(version, text, logprobs=True)) for text in PROBES]
    asked = probing_calls.ask_all(
        version, requests, at_once=at_once, shuffle=claimed.due_at.isoformat()
    )
    tops = {a.prompt: a.tops[0] for a in asked.answers if a.tops}
    with transaction.atomic():
        probe = probing.lock(claimed)
        if probe is None:
            return None
        if not tops and (asked.answers or asked.refused):
            return _without_logprobs(claimed, probe, asked, started)
        watch = _watch(probe, tokens=False)
        return _moved(claimed, probe, watch, asked, tops, started, at_once, fixed=True)


def _watch(probe: Probe, *, tokens: bool) -> ProbeWatch:
    if probe.state.get("kind"):
        return ProbeWatch.from_state(probe.state)
    references = 0 if tokens else REFERENCES
    return ProbeWatch(
        key=str(probe.pk),
        tokens=tokens,
        references=references,
        calibration=max(1, probe.rounds_wanted - references),
    )


def _moved(
    claimed: Claim,
    probe: Probe,
    watch: ProbeWatch,
    asked: Asked,
    answers: dict[str, Any],
    started: dt.datetime,
    at_once: int,
    *,
    fixed: bool,
) -> ProbeRound:
    """One round of a watch, or a round that failed: too few answers move nothing."""
    phase, ranks = watch.phase, {}
    enough = len(answers) >= LEAST_ANSWERS * asked.asked
    if enough:
        _collect_longer(probe, watch, started)
        look = watch.observe_round(_key(probe), answers)
        ranks = dict(look.ranks)
        probe.state = {**watch.to_state(), "texts": PROMPTS_REVISION}
        probe.log_e, probe.max_log_e = watch.log_e, watch.max_log_e
        if watch.phase == "watching":
            probe.phase = ProbePhase.WATCHING
    else:
        probe.note = asked.problem or "Too few answers in the last round."
    return _store(
        claimed,
        probe,
        asked,
        phase=phase if enough else "failed",
        answers=answers,
        ranks=ranks,
        started=started,
        at_once=at_once,
        fixed=fixed,
    )


def _collect_longer(probe: Probe, watch: ProbeWatch, started: dt.datetime) -> None:
    """A baseline that does not cover enough time and load goes on being collected."""
    if watch.phase == "watching":
        probe.note = ""
        return
    times = list(
        probe.rounds_done.filter(phase__in=("reference", "calibration")).values_list(
            "started_at", flat=True
        )
    )
    hours = [t.timestamp() / 3600 for t in [*times, started]]
    gaps = coverage_gaps(hours, rounds_wanted=probe.rounds_wanted, days_wanted=probe.days_wanted)
    last = watch.rounds + 1 >= watch.references + watch.calibration
    if gaps and last:
        watch.extend(1)
    probe.note = f"Baseline still too narrow: {'; '.join(gaps)}." if gaps else ""
    if not gaps and watch.settled_share == 1.0:
        probe.note = (
            "No answer moved at all while the baseline was collected: the endpoint is fully "
            "deterministic, or was never under load."
        )


def _without_logprobs(
    claimed: Claim, probe: Probe, asked: Asked, started: dt.datetime
) -> ProbeRound:
    """Border inputs take over where an endpoint gives no log-probabilities."""
    if probe.phase == ProbePhase.WATCHING:
        # It gave them until now: a round without evidence, and a reason on the page.
        probe.note = "The endpoint gave no log-probabilities in the last round."
    else:
        probe.phase = ProbePhase.UNSUPPORTED
        probe.note = "The endpoint gives no log-probabilities; border inputs are watched instead."
        probing.start_probes(
            actor=probing.SYSTEM,
            model_version=probe.model_version,
            kinds=[ProbeKind.BORDER],
            interval_seconds=probe.interval_seconds,
            collect_seconds=probe.collect_seconds,
            days_wanted=probe.days_wanted,
        )
    return _store(
        claimed,
        probe,
        asked,
        phase="failed",
        answers={},
        ranks={},
        started=started,
        at_once=1,
        fixed=True,
    )


# Border inputs


def _border(claimed: Claim) -> ProbeRound | None:
    probe, version, started = claimed.probe, claimed.probe.model_version, clock.now()
    if not probe.state.get("kind"):
        return _screen(claimed)
    watch = ProbeWatch.from_state(probe.state)
    prompts = list(probe.state["prompts"])
    at_once = _at_once(probe, claimed.due_at)
    requests = [(text, probing_calls.build(version, text, logprobs=False)) for text in prompts]
    asked = probing_calls.ask_all(
        version, requests, at_once=at_once, shuffle=claimed.due_at.isoformat()
    )
    answers = {a.prompt: a.text for a in asked.answers}
    with transaction.atomic():
        locked = probing.lock(claimed)
        if locked is None:
            return None
        watch = ProbeWatch.from_state(locked.state)
        locked.state = {**locked.state, "prompts": prompts}
        row = _moved(claimed, locked, watch, asked, answers, started, at_once, fixed=False)
        locked.state = {**locked.state, "prompts": prompts}
        locked.save_versioned("state")
        return row


def _screen(claimed: Claim) -> ProbeRound | None:
    """Find prompts on which the model hesitates: draws at a small temperature that differ."""
    probe, version, started = claimed.probe, claimed.probe.model_version, clock.now()
    pool = candidates()
    done = int(probe.state.get("screened", 0))
    part = pool[done : done + SCREENED_AT_ONCE]
    request = {
        text: probing_calls.build(version, text, logprobs=False, temperature=SCREEN_TEMPERATURE)
        for text in part
    }
    # The same text again: a further draw carries a mark behind the text, never in the request.
    requests = [(f"{text}\x1f{i}", request[text]) for text in part for i in range(SCREEN_DRAWS)]
    asked = probing_calls.ask_all(version, requests, at_once=2, shuffle="screen")
    said: dict[str, list[str]] = {}
    for answer in asked.answers:
        said.setdefault(answer.prompt.split("\x1f")[0], []).append(answer.text)
    undecided = sorted(t for t, texts in said.items() if len(set(texts)) > 1)
    with transaction.atomic():
        locked = probing.lock(claimed)
        if locked is None:
            return None
        if said:
            chosen = [*locked.state.get("chosen", []), *undecided]
            screened = done + len(part)
            locked.state = {"screened": screened, "chosen": chosen}
            locked.note = f"Screening: {len(chosen)} border inputs among {screened} texts."
            if len(chosen) >= BORDER_WANTED or screened >= len(pool):
                prompts = [*chosen, *(p for p in PROBES if p not in chosen)][:BORDER_WANTED]
                watch = ProbeWatch(
                    key=str(locked.pk),
                    tokens=True,
                    calibration=max(1, locked.rounds_wanted - SCREEN_ROUNDS),
                    coverage=BORDER_COVERAGE,
                )
                locked.state = {**watch.to_state(), "prompts": prompts, "chosen": chosen}
        else:
            locked.note = asked.problem or "No answer while screening."
        return _store(
            claimed,
            locked,
            asked,
            phase="screening" if said else "failed",
            answers={"undecided": undecided},
            ranks={},
            started=started,
            at_once=2,
            fixed=False,
        )


# Sampling


def _sampling(claimed: Claim) -> ProbeRound | None:
    version, started = claimed.probe.model_version, clock.now()
    turn = claimed.probe.rounds * SAMPLED_AT_ONCE
    texts = [PROBES[(turn + i) % len(PROBES)] for i in range(SAMPLED_AT_ONCE)]
    requests = [
        (
            text,
            probing_calls.build(
                version, text, tokens=SAMPLED_TOKENS, logprobs=True, own_sampling=True
            ),
        )
        for text in texts
    ]
    asked = probing_calls.ask_all(version, requests, at_once=2, shuffle=claimed.due_at.isoformat())
    temperature = float(version.parameters.get("temperature", 1.0))
    scores: dict[str, list[dict[str, float]]] = {}
    for answer in asked.answers:
        if answer.drawn:
            with contextlib.suppress(ValueError):
                found = sampling_scores(answer.drawn, temperature=temperature)
                scores.setdefault(answer.prompt, []).append(found)
    with transaction.atomic():
        probe = probing.lock(claimed)
        if probe is None:
            return None
        phase, ranks = _sampled(probe, scores, asked)
        return _store(
            claimed,
            probe,
            asked,
            phase=phase,
            answers=scores,
            ranks=ranks,
            started=started,
            at_once=2,
            fixed=False,
        )


def _sampled(
    probe: Probe, scores: dict[str, list[dict[str, float]]], asked: Asked
) -> tuple[str, dict[str, float]]:
    if not scores:
        probe.note = asked.problem or "The answers carried no log-probabilities."
        if asked.answers and probe.phase == ProbePhase.COLLECTING:
            probe.phase = ProbePhase.UNSUPPORTED
            probe.note = "The endpoint gives no log-probabilities: sampling cannot be watched."
        return "failed", {}
    if probe.state.get("kind"):
        watch = SamplingWatch.from_state(probe.state)
        growth = watch.observe_round(_key(probe), scores)
        probe.state = watch.to_state()
        probe.log_e, probe.max_log_e, probe.note = watch.log_e, watch.max_log_e, ""
        return "watching", {"log_e_increment": growth}
    baseline = dict(probe.state.get("baseline", {}))
    for text, found in scores.items():
        baseline[text] = [*baseline.get(text, []), *found]
    times = [*probe.rounds_done.values_list("started_at", flat=True), clock.now()]
    gaps = coverage_gaps(
        [t.timestamp() / 3600 for t in times],
        rounds_wanted=probe.rounds_wanted,
        days_wanted=probe.days_wanted,
    )
    fewest = min((len(baseline.get(text, [])) for text in PROBES), default=0)
    each = min(SAMPLED_EACH, max(1, probe.rounds_wanted * SAMPLED_AT_ONCE // len(PROBES)))
    if gaps or fewest < each:
        probe.note = f"Baseline still too narrow: {'; '.join(gaps)}." if gaps else ""
        probe.state = {"baseline": baseline}
        return "calibration", {}
    probe.state = SamplingWatch.start(baseline, key=str(probe.pk)).to_state()
    probe.phase, probe.note = ProbePhase.WATCHING, ""
    return "calibration", {}


def due(now: dt.datetime | None = None) -> bool:
    """Is there anything to do? Cheap: an index on due times."""
    return (
        settings.GOVTRACK["PROBES"]
        and Probe.objects.filter(
            enabled=True, retired_at__isnull=True, next_due_at__lte=now or clock.now()
        )
        .exclude(phase=ProbePhase.UNSUPPORTED)
        .exists()
    )
