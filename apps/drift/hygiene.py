"""What else changed between a baseline and a run, and whether they may still be compared.

The table of docs/statistics.md as code. What would void a comparison cannot happen: watches are
bound to a suite revision, which holds prompts, scorers and their parameters, and to an immutable
version. What could confound one is written on the comparison, so that nobody has to remember.
"""

from __future__ import annotations

from typing import Any

from apps.drift.models import Baseline
from apps.evaluations.models import Run

# (what changes, what becomes of comparisons, what to do)
TABLE: tuple[tuple[str, str, str], ...] = (
    (
        "suite (a case, the prompt, a scorer or its parameters)",
        "a new revision: earlier baselines do not apply, and no run of it is compared with them",
        "run a baseline of the new revision; keep the old schedule until both agree",
    ),
    (
        "scoring of stored answers (rescoring)",
        "none: watches read the first scoring only, so that a rule cannot look like a model",
        "make the new rule a new suite revision when it shall be watched",
    ),
    (
        "judge (a model that scores)",
        "a new suite revision; scores of two judges are never ranked together",
        "rescore the baseline with the new judge; add the judge as a control",
    ),
    ("price", "none: no watched metric holds it", "nothing"),
    (
        "harness or client library",
        "valid, marked “client changed”; a control arm says whether it moved answers",
        "look at the control; re-baseline where it moved too",
    ),
    (
        "version's configuration (parameters, system prompt, tools)",
        "another version with baselines and approvals of its own",
        "register it; request an approval",
    ),
    (
        "endpoint's limits, hour, load",
        "valid; latency may move, and informs only",
        "spread baseline and reruns over the day",
    ),
    (
        "probe texts",
        "probes of other texts begin anew by themselves",
        "nothing; the old watch stays readable",
    ),
)


def notes(baseline: Baseline, run: Run) -> list[dict[str, Any]]:
    """What may confound this comparison, in words. Empty: nothing that is known of."""
    found: list[dict[str, Any]] = []
    before = {v for v in baseline.runs.values_list("client_version", flat=True) if v}
    if before and run.client_version and run.client_version not in before:
        found.append(
            {
                "what": "client",
                "before": sorted(before),
                "now": run.client_version,
                "sentence": "The client library changed since the baseline: a control arm tells "
                "whether that moved answers.",
            }
        )
    partial = run.total_slots and run.replicates != max(
        baseline.runs.values_list("replicates", flat=True), default=run.replicates
    )
    if partial:
        found.append(
            {
                "what": "replicates",
                "now": run.replicates,
                "sentence": "The run has other replicates than the baseline: valid, every answer "
                "is ranked within its case.",
            }
        )
    return found
