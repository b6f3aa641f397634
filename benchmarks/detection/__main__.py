"""Detection on recorded and on simulated models: `make bench-detection`.

    python -m benchmarks.detection [--data DIR] [--orders 200] [--lives 1000] [--days 1095]
                                   [--only recorded,cost,power,first,fleet,nuisance,lifetimes]

QUICK=1 in the environment: fewer orders and lives, in about two minutes; rough figures.

DIR (or GOVTRACK_LLMDRIFT) holds `prime.jsonl.gz` and `happy_numbers.jsonl.gz` of LLMDrift
(arXiv 2307.09009, Apache-2.0); without it that part is left out, and says so. Tables on stdout, and
on the last line one JSON object. The live part has a command of its own: `bench-probes`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import Any

PARTS = "recorded,cost,power,first,fleet,nuisance,lifetimes"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection")
    parser.add_argument("--data", type=Path, default=os.environ.get("GOVTRACK_LLMDRIFT"))
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--days", type=int, default=1095)
    parser.add_argument("--only", default=PARTS)
    parser.add_argument("--power-lives", type=int, default=100)
    parser.add_argument("--fleets", type=int, default=3)
    parser.add_argument("--stressed", type=int, default=400, help="lives with a heavier nuisance")
    parser.add_argument("--stressed-days", type=int, default=120)
    parser.add_argument("--seed", type=int, default=11, help="of the unchanged lives")
    if os.environ.get("QUICK"):
        quick = {"orders": 20, "resamples": 30, "lives": 200, "days": 150}
        parser.set_defaults(**quick, power_lives=24, fleets=1, stressed=100, stressed_days=60)
    return parser.parse_args()


def main() -> None:
    asked = options()
    parts = asked.only.split(",")
    from benchmarks.detection import cost, lifetimes, recorded  # after Django is set up

    results: dict[str, Any] = {}
    goals: list[dict[str, Any]] = []

    def goal(name: str, wanted: str, value: float, met: bool) -> None:
        goals.append({"name": name, "goal": wanted, "value": round(value, 4), "met": met})
        print(f"  {name}: {value:.4g} (goal {wanted}) {'met' if met else 'MISSED'}", flush=True)

    if "recorded" in parts:
        data = Path(asked.data) if asked.data else None
        if data is None or not recorded.available(data):
            results["recorded"] = "left out: no recordings (--data DIR or GOVTRACK_LLMDRIFT)"
            print(f"Recorded reality {results['recorded']}")
        else:
            rows = recorded.run(data, orders=asked.orders, resamples=asked.resamples)
            results["recorded"] = rows
            print(f"Recorded reality, {asked.orders} random orders, alpha 1 % over the life")
            for r in rows:
                goal(f"{r['set']}: median cases to alarm", "<= 10", r["median"], r["median"] <= 10)
                goal(f"{r['set']}: 90th percentile", "<= 16", r["p90"], r["p90"] <= 16)
                goal(f"{r['set']}: accuracy alone, beside the plain test's {r['plain']:g}",
                     "no more", r["alone"], r["alone"] <= r["plain"])  # fmt: skip
                goal(f"{r['set']}: the same in one rerun, tempered for days that move",
                     "no more", r["tempered"], r["tempered"] <= r["plain"])  # fmt: skip
                goal(f"{r['set']}: March resampled, alarms", "<= 1 %", r["false_alarms"],
                     r["false_alarms"] <= 0.01)  # fmt: skip
    if "cost" in parts:
        one, many = cost.comparison(), cost.fleet()
        results["cost"] = {**one, **many}
        print("Cost on one core")
        goal("2,000 cases x 5 x 40 metrics, seconds", "< 2", one["seconds"], one["seconds"] < 2)
        goal("versions an hour", ">= 1000", many["per_hour"], many["per_hour"] >= 1000)
    if "power" in parts:
        print("Days to alarm, 20 answers a day, all layers, days that move together")
        for drop, day, limit in ((0.3, 5, 8), (0.3, 60, 8), (0.3, 365, 8), (0.1, 365, 60)):
            found = lifetimes.power(drop, day, lives=asked.power_lives)
            results[f"power {drop} {day}"] = found
            goal(f"-{drop:.0%} of accuracy on day {day}, median days", f"<= {limit}",
                 found["median"], found["median"] <= limit)  # fmt: skip
    if "first" in parts:
        print("Days to alarm, -30% of accuracy from the first rerun on (no goal)")
        for name, occasions in (("one run", False), ("five runs", True)):
            found = lifetimes.power(0.3, 0, lives=asked.power_lives, occasions=occasions)
            results[f"first rerun, baseline of {name}"] = found
            print(f"  baseline of {name}: median {found['median']:.4g}, found within 150 days "
                  f"{found['found']:.0%}", flush=True)  # fmt: skip
    if "fleet" in parts:
        found = lifetimes.fleet(fleets=asked.fleets)
        results["fleet"] = found
        print("Fleet of 500, 20 changed, e-BH at 5 %")
        goal("false discoveries", "<= 5 %", found["fdr"], found["fdr"] <= 0.05)
    if "nuisance" in parts:
        print(f"{asked.stressed} unchanged lives of {asked.stressed_days} days, heavier nuisances")
        for name, nuisance in (
            ("lengths of a whole day move by sd 0.1 (log)", {"length_sd": 0.1}),
            ("the same, baseline of five runs", {"length_sd": 0.1, "occasions": True}),
            ("days move by a logit sd of 0.5", {"day_sd": 0.5}),
            ("100 cases", {"cases": 100, "batch": 100}),
            ("100 cases, baseline of five runs", {"cases": 100, "occasions": True, "batch": 100}),
            ("100 cases, one baseline answer", {"cases": 100, "replicates": 1, "batch": 100}),
            ("300 cases", {"cases": 300, "batch": 50}),
            ("300 cases, baseline of five runs", {"cases": 300, "occasions": True, "batch": 50}),
        ):
            found = lifetimes.unchanged(
                asked.stressed, asked.stressed_days, seed=asked.seed + 7000, **nuisance
            )
            results[f"lifetimes, {name}"] = found
            goal(f"{name}: any alarm", "<= 1 %", found["rate"], found["rate"] <= 0.01)
    if "lifetimes" in parts:
        found = lifetimes.unchanged(asked.lives, asked.days, seed=asked.seed)
        results["lifetimes"] = found
        print(f"{asked.lives} unchanged lives of {asked.days} days")
        goal("any alarm", "<= 1 %", found["rate"], found["rate"] <= 0.01)
    document = {"benchmark": "detection", "results": results, "goals": goals}
    print(json.dumps(_finite(document), allow_nan=False))


def _finite(value: Any) -> Any:
    """JSON knows no infinity (never found): None."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "govtrack.settings")
    import django

    django.setup()
    main()
