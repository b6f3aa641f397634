"""From measured rounds to tables, ratios, goals and the one JSON line."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.engine.control import Variant

Figures = dict[tuple[str, str], list[dict[str, float]]]
# name, variant, figure, how it compares, goal
GOALS = (
    ("wall at 32", "c32", "wall", "<=", 1.15),
    ("span at 32", "c32", "span", "<=", 1.08),
    ("wall at 64", "c64", "wall", "<=", 1.25),
    ("span at 64", "c64", "span", "<=", 1.15),
    ("wall at 128", "c128", "wall", "<=", 1.4),
    ("span under faults", "faults", "span", "<=", 1.15),
    ("CPU ms a sample", "c32", "cpu_ms", "<=", 4.0),
    ("MB a worker", "c32", "mb", "<=", 200.0),
    ("samples/s at zero latency", "zero", "rate", ">=", 400.0),
)


def ratios(variant: Variant, cases: int, measured: dict[str, float]) -> dict[str, float]:
    """Wall and span over the ideal; what has no ideal is a rate."""
    ideal = variant.ideal(cases)
    found = {
        "cpu_ms": 1000 * measured["cpu"] / cases,
        "mb": measured["mb"],
        "rate": cases / measured["wall"],
        "span_rate": cases / max(measured["span"], 1e-9),
        "repeated": measured["repeated"],
    }
    if ideal:
        found |= {"wall": measured["wall"] / ideal, "span": measured["span"] / ideal}
    if "database_cpu" in measured:
        found["database_cpu_ms"] = 1000 * measured["database_cpu"] / cases
    return found


def summary(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Median, least and most of every figure over the rounds."""
    return {
        name: {
            "median": statistics.median(r[name] for r in rounds),
            "min": min(r[name] for r in rounds),
            "max": max(r[name] for r in rounds),
        }
        for name in rounds[0]
    }


def document(
    figures: Figures,
    variants: Sequence[Variant],
    cases: int,
    missing: dict[str, str],
    extra: dict[str, Any],
) -> dict[str, Any]:
    by_key = {v.key: v for v in variants}
    results: dict[str, Any] = {"cases": cases, "not_installed": missing, **extra}
    for (tool, key), rounds in figures.items():
        found = summary([ratios(by_key[key], cases, r) for r in rounds])
        results.setdefault(tool, {})[key] = {
            name: {k: round(v, 4) for k, v in values.items()} for name, values in found.items()
        }
    goals = []
    for name, key, figure, sign, goal in GOALS:
        value = results.get("govtrack", {}).get(key, {}).get(figure, {}).get("median")
        if value is not None:
            met = value <= goal if sign == "<=" else value >= goal
            goals.append({"name": name, "goal": f"{sign} {goal:g}", "value": value, "met": met})
    goals += extra.get("goals", [])
    results.pop("goals", None)
    return {"benchmark": "engine", "results": results, "goals": goals}


def tables(
    figures: Figures,
    names: dict[str, str],
    variants: Sequence[Variant],
    cases: int,
    missing: dict[str, str],
    found: dict[str, Any],
) -> str:
    results = found["results"]
    lines = [
        f"{cases:,} one-prompt cases, lognormal latency (median 300 ms, sigma 0.4) seeded by the "
        "prompt.",
        "Wall and span over the ideal (sum of latencies / concurrency); median of the rounds, "
        "(least-most).",
        "GovTrack's wall: from the run's request to its end, scored, every sample committed "
        "(fsync on).",
    ]
    for variant in variants:
        lines += ["", f"### {variant.label}"]
        ideal = variant.ideal(cases)
        if ideal:
            perfect = variant.perfect(cases) / ideal
            lines.append(f"ideal {ideal:.2f} s; a scheduler without any cost: span {perfect:.3f}")
        lines += [
            "| tool | wall | span | CPU ms a sample | MB a process | samples/s | asked again |",
            "|---|---|---|---|---|---|---|",
        ]
        for tool, name in names.items():
            entry = results.get(tool, {}).get(variant.key)
            if entry is None:
                continue
            cells = [
                _cell(entry.get("wall"), 3),
                _cell(entry.get("span"), 3),
                _cell(entry["cpu_ms"], 2),
                _cell(entry["mb"], 0),
                _cell(entry["rate"], 0),
                _cell(entry["repeated"], 0),
            ]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    if "tickers" in results:
        claimed, first = results["tickers"], results["due_to_first_call"]
        lines += [
            "",
            f"Schedules: {claimed['due']:,} due at once, {claimed['tickers']} tickers: "
            f"{claimed['runs']:,} runs, {claimed['schedules_with_one_run']:,} schedules with "
            f"exactly one, {claimed['seconds']} s (claimed by each: {claimed['claimed_by_each']}).",
            f"Due to first call, idle workers: median {first['median']} s, p95 {first['p95']} s.",
        ]
    for tool, reason in missing.items():
        lines += ["", f"Not measured: {tool} ({reason})"]
    lines += ["", "| goal | asked | found | met |", "|---|---|---|---|"]
    for goal in found["goals"]:
        met = "yes" if goal["met"] else "NO"
        lines.append(f"| {goal['name']} | {goal['goal']} | {goal['value']:g} | {met} |")
    return "\n".join(lines)


def _cell(entry: dict[str, float] | None, digits: int) -> str:
    if entry is None:
        return "–"
    middle, low, high = (f"{entry[k]:.{digits}f}" for k in ("median", "min", "max"))
    return middle if low == high else f"{middle} ({low}–{high})"
