"""What a comparison costs on one core: without database and network, but with everything that it
works out of the answers' texts: whole outputs against their references, and structure."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from apps.drift import wholes
from apps.drift.stats import CaseWatch, effect_interval, first_rerun_log_e
from apps.drift.structures import structure_rows


def answered(rng: np.random.Generator, cases: int, replicates: int) -> list[Any]:
    """Samples as `evaluations.answers` gives them: half prose, half JSON, about 400 characters."""
    vocabulary = ["".join(chr(97 + c) for c in rng.integers(0, 26, 6)) for _ in range(2000)]
    samples = []
    for number in range(replicates):
        for case in range(cases):
            # A case's answers share most of their words, as a model's at a temperature do.
            words = np.random.default_rng(case).integers(0, 2000, 56)
            moved = rng.random(56) < 0.2
            words[moved] = rng.integers(0, 2000, int(moved.sum()))
            said = [vocabulary[w] for w in words]
            text = " ".join(said)
            if case % 2:
                items = [{"name": a, "price": number} for a in said[:12]]
                text = json.dumps({"title": " ".join(said[12:20]), "items": items, "total": 3})
            samples.append(
                SimpleNamespace(
                    case=SimpleNamespace(case_id=f"c{case}"), text=text, tool_calls=None
                )
            )
    return samples


def comparison(cases: int = 2000, replicates: int = 5, metrics: int = 40) -> dict[str, float]:
    """One rerun against its baseline, `replicates` answers a case in both: whole outputs,
    structure, ranks, bets and effect of every metric (two are whole outputs), and the first
    rerun's test over the others."""
    rng = np.random.default_rng(4)
    names = [f"c{i}" for i in range(cases)]
    old, new = {}, {}
    for number in range(metrics - len(wholes.KEYS)):
        draw = (
            (lambda: rng.integers(0, 2, replicates).astype(float))
            if number % 2
            else (lambda: rng.normal(size=replicates))
        )
        old[f"m{number}"] = {name: draw().tolist() for name in names}
        new[f"m{number}"] = {name: draw().tolist() for name in names}
    scored = list(old)
    before, now = (answered(rng, cases, replicates) for _ in range(2))
    baseline = old | wholes.of_baseline(before)
    watches = {m: CaseWatch.start(values, m) for m, values in baseline.items()}

    started = time.process_time()
    old, new = old | wholes.of_baseline(before), new | wholes.of_run(before, now)
    outputs = time.process_time()
    structure_rows(before, now)
    structure = time.process_time()
    for metric, watch in watches.items():
        watch.observe_run("run", new[metric])
    first_rerun_log_e(old, new, weights=dict.fromkeys(scored, 1.0), key="cost")
    betting = time.process_time()
    for metric in watches:
        bounds = (0.0, 1.0) if metric in wholes.KEYS else None
        effect_interval(old[metric], new[metric], alpha=0.05, bounds=bounds)
    ended = time.process_time()
    return {
        "seconds": ended - started,
        "whole_outputs": outputs - started,
        "structure": structure - outputs,
        "betting": betting - structure,
        "effects": ended - betting,
    }


def fleet(versions: int = 20, cases: int = 20, metrics: int = 30) -> dict[str, float]:
    """States out of JSON, one rerun, states into JSON again; per hour on one core."""
    rng = np.random.default_rng(5)
    names = [f"c{i}" for i in range(cases)]
    stored = []
    for number in range(metrics):
        watch = CaseWatch.start({n: rng.normal(size=5).tolist() for n in names}, f"m{number}")
        for day in range(100):
            watch.observe_run(f"d{day}", {n: [float(rng.normal())] for n in names})
        stored.append(json.dumps(watch.to_state()))
    started = time.process_time()
    for _ in range(versions):
        for text in stored:
            watch = CaseWatch.from_state(json.loads(text))
            watch.observe_run("now", {n: [float(rng.normal())] for n in names})
            json.dumps(watch.to_state())
    each = (time.process_time() - started) / versions
    return {"per_hour": 3600.0 / each, "state_kib": sum(map(len, stored)) / 1024}
