"""From the answers to the numbers again, with nothing but the document that a change offers.

The document holds, for each baseline of a change, what its watches were started with and what every
look brought; and beside each number of a look what the product recorded at the time. `recompute`
runs the watches anew and compares. It needs no database and no network: whoever doubts a verdict
can run it on another machine, or write their own from `docs/statistics.md`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.drift.stats.checks import NotEnoughAnswers
from apps.drift.stats.combine import combine_log_e
from apps.drift.stats.effect import effect_interval
from apps.drift.stats.labelling import first_rerun_log_e
from apps.drift.stats.probes import RoundBets
from apps.drift.stats.run_effect import of_one_day
from apps.drift.stats.suite import suite_log_e
from apps.drift.stats.watch import CaseWatch

FORMAT = "govtrack.recompute/1"
#: Largest difference that counts as the same number: other machines may round sums otherwise.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Check:
    """One number: as recorded, and as it comes out now. None stands for minus infinity."""

    where: str
    recorded: float | None
    now: float | None

    @property
    def same(self) -> bool:
        if self.recorded is None or self.now is None:
            return self.recorded is self.now
        return abs(self.recorded - self.now) <= TOLERANCE * max(1.0, abs(self.recorded))


@dataclass(frozen=True)
class Recomputed:
    checks: tuple[Check, ...]
    looks: int

    @property
    def differing(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.same)

    @property
    def ok(self) -> bool:
        return bool(self.checks) and not self.differing


def recompute(document: Mapping[str, Any]) -> Recomputed:
    """Run every watch of the document again and compare with what was recorded.

    Raises ValueError, naming the place, when the document is of another format or is damaged.
    """
    if document.get("format") != FORMAT:
        raise ValueError(f"format: {document.get('format')!r} is not {FORMAT!r}.")
    checks: list[Check] = []
    looks = 0
    combined: dict[tuple[str, str], float | None] = {}
    for n, baseline in enumerate(document.get("baselines") or []):
        if "answers" in baseline and not baseline["answers"]:
            raise ValueError(
                f"baselines[{n}]: its answers are gone (retention), so nothing can be recomputed."
            )
        try:
            found, count = _baseline(baseline, combined)
        except (KeyError, TypeError) as error:
            raise ValueError(f"baselines[{n}]: is damaged ({error}).") from None
        checks += found
        looks += count
    for n, probe in enumerate(document.get("probes") or []):
        try:
            checks += _probe(probe, combined)
            looks += len(probe["rounds"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"probes[{n}]: is damaged ({error}).") from None
    for n, life in enumerate(document.get("lives") or []):
        try:
            checks += _life(life, combined)
        except (KeyError, TypeError) as error:
            raise ValueError(f"lives[{n}]: is damaged ({error}).") from None
    return Recomputed(tuple(checks), looks)


def _life(life: Mapping[str, Any], combined: Mapping[tuple[str, str], float | None]) -> list[Check]:
    """The version's e-value: reserve + sum of weight * e over its sources, at every look.

    A source that has not looked yet has e = 1, so it does not matter when its weight was dealt out
    of the reserve. Suites' own e-values are those that came out of their answers just now.
    """
    sources = {s["id"]: s for s in life["sources"]}
    weights = {key: float(s["weight"]) for key, s in sources.items() if s["weight"] is not None}
    reserve = max(0.0, 1.0 - math.fsum(weights.values()))
    total = reserve + math.fsum(weights.values())
    log_e = dict.fromkeys(weights, 0.0)
    checks = []
    for look in life["looks"]:
        at = f"version, look {look['look']}"
        source = sources[look["source"]]
        told = look["source_log_e"]
        own = (str(source["of"]), str(look["ref"]))
        if own in combined:
            checks.append(Check(f"{at}: log e-value of its source", told, combined[own]))
        log_e[look["source"]] = -math.inf if told is None else float(told)
        now = combine_log_e(
            [0.0, *log_e.values()], [reserve / total, *(weights[key] / total for key in log_e)]
        )
        checks.append(Check(f"{at}: combined log e-value", look["recorded"]["log_e"], _plain(now)))
    return checks


def _probe(
    probe: Mapping[str, Any], combined_of: dict[tuple[str, str], float | None]
) -> list[Check]:
    """A probe's e-value from the ranks of its rounds; a round without any moves nothing."""
    bets = RoundBets()
    checks = []
    for row in probe["rounds"]:
        if row["ranks"]:
            bets.update([float(rank) for rank in row["ranks"]])
        where = f"probe {probe['kind']}, round {row['round']}: log e-value"
        now = _plain(bets.log_e)
        checks.append(Check(where, row["recorded"]["log_e"], now))
        combined_of[str(probe["id"]), str(row["id"])] = now
    return checks


def _baseline(
    baseline: Mapping[str, Any], combined_of: dict[tuple[str, str], float | None]
) -> tuple[list[Check], int]:
    name = str(baseline["suite"])
    metrics = list(baseline["metrics"])
    watches = {
        m["key"]: CaseWatch.start(
            baseline["answers"][m["key"]],
            m["watch_key"],
            max_values=int(m["max_values"]),
            one_day=of_one_day(len(baseline["runs"])),
        )
        for m in metrics
    }
    checks: list[Check] = []
    first = baseline.get("first_rerun") or {"share": 0.0}
    first_log_e = 0.0
    for position, look in enumerate(baseline["looks"]):
        if position == 0 and first["share"]:
            first_log_e = first_rerun_log_e(
                baseline["answers"], look["answers"], weights=first["weights"], key=first["key"]
            )
        at = f"{name}, look {look['look']}"
        for m in metrics:
            process = watches[m["key"]]
            process.observe_run(look["run"], look["answers"].get(m["key"], {}))
            checks.append(
                Check(
                    f"{at}, {m['key']}: log e-value",
                    look["recorded"]["log_e_of"][m["key"]],
                    _plain(process.log_e),
                )
            )
        combined = suite_log_e(
            first=first_log_e,
            share=float(first["share"]),
            watches=[watches[m["key"]].log_e for m in metrics],
            weights=[float(m["weight"]) for m in metrics],
        )
        checks.append(
            Check(f"{at}: combined log e-value", look["recorded"]["log_e"], _plain(combined))
        )
        combined_of[str(baseline["id"]), str(look["run"])] = _plain(combined)
        checks += _effects(baseline, look, metrics, at)
    return checks, len(baseline["looks"])


def _effects(
    baseline: Mapping[str, Any], look: Mapping[str, Any], metrics: list[Any], at: str
) -> list[Check]:
    """Effects of the looks that rest on their own run alone: those after the alarm."""
    recorded = look["recorded"].get("effects") or {}
    checks = []
    for m in metrics:
        if m["key"] not in recorded:
            continue
        before, after = baseline["answers"][m["key"]], look["answers"].get(m["key"], {})
        try:
            effect = effect_interval(
                before,
                after,
                alpha=float(look["recorded"]["effect_alpha"]),
                bounds=_kept(m["bounds"], before, after),
            )
        except NotEnoughAnswers:
            continue
        for part in ("estimate", "low", "high"):
            checks.append(
                Check(
                    f"{at}, {m['key']}: effect, {part}",
                    recorded[m["key"]][part],
                    _plain(getattr(effect, part)),
                )
            )
    return checks


def _kept(bounds: Any, *arms: Mapping[str, Any]) -> tuple[float, float] | None:
    """A suite may promise bounds that answers break; then there are none to rely on."""
    if not bounds:
        return None
    low, high = float(bounds[0]), float(bounds[1])
    inside = all(low <= v <= high for arm in arms for values in arm.values() for v in values)
    return (low, high) if inside else None


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
