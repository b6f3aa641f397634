"""Recorded reality: answers that one name gave in March and in June 2023 (LLMDrift, Apache-2.0).

The product's own setting, unchanged: `apps.drift.metrics` chooses features and weights,
`apps.drift.stats` tests. A suite of the first n cases of a random order is approved on the March
answers (one a case); its first rerun brings the June answers. Cases to alarm: the smallest n, from
7 on, at which the version's e-value reaches 1/alpha. The recordings are not part of the project.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from apps.drift import metrics
from apps.drift.stats import CaseWatch, first_rerun_log_e, suite_log_e
from apps.drift.stats.bets import LOG_PRIOR_BINARY, log_bets
from apps.drift.stats.combine import FIRST_DEAL
from apps.drift.stats.martingale import restart_weight
from apps.drift.stats.run_effect import BINARY
from apps.evaluations.style import style_profile
from benchmarks.detection.signs import plain_sign_log_e

ALPHA = 0.01
LINE = -math.log(ALPHA)
PAIRS = {
    "GPT-4": ("gpt-4-0314", "gpt-4-0613"),
    "GPT-3.5": ("gpt-3.5-turbo-0301", "gpt-3.5-turbo-0613"),
}
TASKS = {"primes": "prime", "happy numbers": "happy_numbers"}
#: What a plain Beta(1/2, 1/2) sign test on accuracy was said to need.
PLAIN = {
    ("GPT-4", "primes"): 60,
    ("GPT-4", "happy numbers"): 25,
    ("GPT-3.5", "primes"): 311,
    ("GPT-3.5", "happy numbers"): 183,
}
LARGEST = 40
Answer = dict[str, float]


def available(data: Path) -> bool:
    return all((data / f"{name}.jsonl.gz").exists() for name in TASKS.values())


def load(data: Path, task: str) -> dict[str, dict[str, dict[str, Any]]]:
    """model → case id → the recorded line."""
    rows: dict[str, dict[str, dict[str, Any]]] = {}
    with gzip.open(data / f"{TASKS[task]}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            rows.setdefault(row["model"], {})[row["id"]] = row
    return rows


def correct(task: str, row: dict[str, Any]) -> float:
    text = row["answer"] or ""
    if task == "primes":
        found = re.findall(r"\[(yes|no)\]", text.lower())
        return float(bool(found) and found[-1] == row["reference"].lower().strip("[]"))
    boxed = re.compile(r"boxed\{+\s*([^}]*)\}")
    wanted, given = boxed.findall(row["reference"]), boxed.findall(text)
    return float(bool(given) and given[-1].strip() == wanted[-1].strip())


def features(task: str, row: dict[str, Any]) -> Answer:
    style = {f"style.{k}": v for k, v in style_profile(row["answer"] or "").items()}
    return {"accuracy": correct(task, row), **style, metrics.ERROR_METRIC: 0.0}


class Setting:
    """What the product fixes when a baseline of a suite with one metric (accuracy) is set."""

    def __init__(self, seen: set[str]) -> None:
        watched = metrics.watched_of_document(
            {"metrics": [{"key": "accuracy", "bounds": [0, 1], "margin": 0.05}]}, seen
        )
        self.weights = {m.key: m.weight for m in watched}
        self.first = metrics.first_rerun_weights(watched)

    def version_log_e(self, before: Sequence[Answer], now: Sequence[Answer], key: str) -> float:
        """The version's log e-value after its first rerun, as `compare_run` works it out."""
        old = {m: {f"c{i}": [a[m]] for i, a in enumerate(before)} for m in self.weights}
        new = {m: {f"c{i}": [a[m]] for i, a in enumerate(now)} for m in self.weights}
        logs = []
        for m in self.weights:
            watch = CaseWatch.start(old[m], f"{key}:{m}")
            watch.observe_run("rerun", new[m])
            logs.append(watch.log_e)
        suite = suite_log_e(
            first=first_rerun_log_e(old, new, weights=self.first, key=key),
            share=metrics.FIRST_RERUN_SHARE,
            watches=logs,
            weights=list(self.weights.values()),
        )
        return float(np.logaddexp(math.log(1 - FIRST_DEAL), math.log(FIRST_DEAL) + suite))


def cases_to_alarm(
    setting: Setting, before: Sequence[Answer], now: Sequence[Answer], order: Sequence[int]
) -> float:
    for n in range(7, LARGEST + 1):
        chosen = order[:n]
        log_e = setting.version_log_e(
            [before[i] for i in chosen], [now[i] for i in chosen], "bench"
        )
        if log_e >= LINE:
            return n
    return math.inf


def accuracy_alone(
    before: Sequence[Answer], now: Sequence[Answer], order: Sequence[int]
) -> tuple[float, float, float]:
    """Cases to alarm of the accuracy's bets alone, of the plain sign test, and of the bets as one
    rerun of so many cases tempers them, for days that move (the plain test knows no days)."""
    old = np.array([before[i]["accuracy"] for i in order])
    new = np.array([now[i]["accuracy"] for i in order])
    below, equal = (new > old).astype(float), (new == old).astype(float)
    gains = np.cumsum(log_bets(below / 2, (below + equal + 1) / 2), axis=0) + LOG_PRIOR_BINARY
    top = gains.max(axis=1)
    bets = top + np.log(np.exp(gains - top[:, None]).sum(axis=1))
    start = restart_weight(1)
    watch = np.logaddexp(math.log(1 - start), math.log(start) + bets)
    least = np.array([BINARY.least(0, replicated=False, cases=n + 1) for n in range(len(order))])
    slow = (gains - LOG_PRIOR_BINARY) / least[:, None] + LOG_PRIOR_BINARY
    top = slow.max(axis=1)
    calm = top + np.log(np.exp(slow - top[:, None]).sum(axis=1))
    tempered = np.logaddexp(math.log(1 - start), math.log(start) + calm)
    wins, losses = np.cumsum(new > old), np.cumsum(new < old)
    return _first(watch), _first(plain_sign_log_e(wins, losses)), _first(tempered)


def _first(log_es: Any) -> float:
    hits = np.nonzero(log_es >= LINE)[0]
    return float(hits[0] + 1) if hits.size else math.inf


def run(data: Path, *, orders: int, resamples: int, seed: int = 1) -> list[dict[str, Any]]:
    rows = []
    for task in TASKS:
        recorded = load(data, task)
        for family, (march, june) in PAIRS.items():
            cases = sorted(recorded[march])
            before = [features(task, recorded[march][c]) for c in cases]
            now = [features(task, recorded[june][c]) for c in cases]
            setting = Setting(set(before[0]))
            rng = np.random.default_rng(seed)
            shuffles = [rng.permutation(len(cases)) for _ in range(orders)]
            found = [cases_to_alarm(setting, before, now, list(o)) for o in shuffles]
            alone = np.array([accuracy_alone(before, now, list(o)) for o in shuffles])
            # Unchanged: two March answers to two cases, which of them is the rerun by lot.
            wrong = 0
            for k in range(resamples):
                pairs = rng.permutation(len(cases))[:40].reshape(20, 2)
                wrong += (
                    setting.version_log_e(
                        [before[a] for a, _ in pairs], [before[b] for _, b in pairs], f"null{k}"
                    )
                    >= LINE
                )
            rows.append(
                {
                    "set": f"{family}, {task}",
                    "median": float(np.median(found)),
                    "p90": float(np.percentile(found, 90)),
                    "alone": float(np.median(alone[:, 0])),
                    "plain": float(np.median(alone[:, 1])),
                    "tempered": float(np.median(alone[:, 2])),
                    "plain_stated": PLAIN[family, task],
                    "false_alarms": wrong / max(resamples, 1),
                    "resamples": resamples,
                }
            )
            print(f"  {rows[-1]['set']}: done", flush=True)
    return rows
