"""Probes on a real model under real silent changes: rounds and tokens to detection.

    make bench-probes            records what is missing first (about 40 minutes on two cores)

Rounds are resampled from the records of `live_record`: for every prompt one of the answers that
were recorded under the round's load. Ours runs as in the product (`apps.drift.stats.probes`), with
the weight that a probe has in a version's evidence: it alarms when 0.8 + 0.2 e reaches 100. The
other methods are re-implemented in `live_methods`; each gets the threshold that 1 % of unchanged
lives ever pass *on these very records*, an oracle that its users do not have.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from apps.drift.stats.probes import ProbeWatch
from apps.drift.stats.probes_sampling import Drawn, SamplingWatch, sampling_scores
from benchmarks.detection import live_methods as methods
from benchmarks.detection.live_record import CHANGED_ROUNDS, KINDS, PROBES, SAMPLING, Recorder

LINE = math.log((100.0 - 0.8) / 0.2)
MIX = {"quiet": 0.1, "cached": 0.3, "light": 0.3, "heavy": 0.3}
BASELINES, LIVES, LIFE, LATE = 30, 60, 200, 365
TEMPERATURE = 0.7
MOST_ROUNDS = 30
CHANGES = [name for name in KINDS if name != "unchanged"]
Top = list[tuple[str, float]]


class Records:
    def __init__(self, cache: Path) -> None:
        self.by: dict[str, dict[str, list[list[Top]]]] = {}
        self.questions: dict[str, list[str]] = {}
        self.prompts: list[str] = []
        for name in KINDS:
            path = cache / f"probes-{name}.json"
            if not path.exists():
                continue
            document = json.loads(path.read_text())
            self.prompts = document["prompts"]
            loads: dict[str, list[list[Top]]] = {}
            for row in document["rounds"]:
                tops = [[(t, v) for t, v in top] for top in row["tops"]]
                loads.setdefault(row["load"], []).append(tops)
            self.by[name] = loads
            self.questions[name] = [methods.letter(top) for top in document["questions"]]
        self.completions = {
            path.stem.removeprefix("completions-"): json.loads(path.read_text())
            for path in sorted(cache.glob("completions-*.json"))
        }
        screening = json.loads((cache / "screening.json").read_text())
        self.screening: list[Top] = [[(t, v) for t, v in top] for top in screening]
        tokens = json.loads((cache / "tokens.json").read_text())
        self.round_tokens = sum(tokens["prompts"][: len(PROBES)]) + len(PROBES)
        self.border_tokens = statistics.mean(tokens["prompts"][len(PROBES) :]) + 1
        self.question_tokens = sum(tokens["questions"]) + len(tokens["questions"])
        self.prompt_tokens = statistics.mean(tokens["prompts"][: len(PROBES)])

    def load(self, name: str, rng: random.Random, forced: str = "") -> str:
        have = [x for x in MIX if x in self.by[name]]
        return forced or rng.choices(have, [MIX[x] for x in have])[0]

    def round(self, name: str, load: str, which: Sequence[int], rng: random.Random) -> list[Top]:
        pool = self.by[name][load]
        return [rng.choice(pool)[i] for i in which]


def border_prompts(records: Records, rng: random.Random) -> list[int]:
    """As the product screens: three draws at T = 0.1 that differ, from the recorded candidates. The
    records hold later answers of the forty closest; which of these are found is left to chance."""
    kept = len(records.prompts) - len(PROBES)
    gaps = [top[0][1] - top[1][1] for top in records.screening]
    closest = sorted(range(len(gaps)), key=lambda i: gaps[i])[:kept]
    found = []
    for place, i in enumerate(closest):
        draws = {methods.draw(records.screening[i], 0.1, rng) for _ in range(3)}
        if len(draws) > 1:
            found.append(len(PROBES) + place)
    return found[:20]


class Ours:
    """One watch over resampled rounds."""

    def __init__(self, records: Records, which: Sequence[int], *, tokens: bool, key: str) -> None:
        self.records, self.which, self.tokens = records, which, tokens
        plan = {"calibration": 60, "coverage": 1 / 3} if tokens else {}
        self.watch = ProbeWatch(key=key, tokens=tokens, **plan)
        self.number = 0

    def look(self, name: str, rng: random.Random, load: str = "") -> bool:
        self.number += 1
        tops = self.records.round(name, self.records.load(name, rng, load), self.which, rng)
        answers: dict[str, Any] = {
            str(i): top[0][0] if self.tokens else top
            for i, top in zip(self.which, tops, strict=True)
        }
        self.watch.observe_round(f"r{self.number}", answers)
        return self.watch.max_log_e >= LINE

    def quiet(self, rounds: int, rng: random.Random) -> bool:
        hits = [self.look("unchanged", rng) for _ in range(rounds)]
        return any(hits)

    def collect(self, rng: random.Random, load: str = "") -> None:
        while self.watch.phase != "watching":
            self.look("unchanged", rng, load)

    def copy(self) -> Ours:
        twin = Ours(self.records, self.which, tokens=self.tokens, key="x")
        twin.watch = ProbeWatch.from_state(json.loads(json.dumps(self.watch.to_state())))
        twin.number = self.number
        return twin

    def rounds_to(self, name: str, rng: random.Random) -> int | None:
        for count in range(1, MOST_ROUNDS + 1):
            if self.look(name, rng):
                return count
        return None


def detection(
    records: Records, *, tokens: bool, late: bool
) -> tuple[dict[str, list[int | None]], int]:
    """Change -> rounds to the alarm for each baseline; and false alarms before a late change."""
    found: dict[str, list[int | None]] = {name: [] for name in CHANGES if name in records.by}
    false = 0
    for b in range(BASELINES):
        rng = random.Random(f"{tokens}{late}{b}")
        which = border_prompts(records, rng) if tokens else list(range(len(PROBES)))
        ours = Ours(records, which, tokens=tokens, key=f"b{b}")
        ours.collect(rng)
        if late and ours.quiet(LATE, rng):
            false += 1
            continue
        for name in found:
            found[name].append(ours.copy().rounds_to(name, rng))
    return found, false


def unchanged(records: Records, *, tokens: bool, narrow: bool = False) -> tuple[int, int, int]:
    """(lives with an alarm, lives, rounds). The last third of each life under changing load:
    stretches of ten quiet rounds and ten rounds under heavy load. narrow: baseline on a quiet
    server only."""
    alarms = rounds = 0
    lives = 20 if narrow else LIVES
    for life in range(lives):
        rng = random.Random(f"life{tokens}{life}")
        which = border_prompts(records, rng) if tokens else list(range(len(PROBES)))
        ours = Ours(records, which, tokens=tokens, key=f"life{life}")
        ours.collect(rng, "quiet" if narrow else "")
        hit = ours.quiet(30 if narrow else LIFE * 2 // 3, rng)
        rounds += LIFE
        for i in range(0 if narrow else LIFE // 3):
            hit |= ours.look("unchanged", rng, "quiet" if i // 10 % 2 else "heavy")
        alarms += hit
    return alarms, lives, rounds


def permuted(records: Records) -> tuple[int, int, int]:
    """No resampling: the recorded rounds themselves in random orders, 26 as baseline, the rest
    watched. (alarms, orders, watched rounds)"""
    everything = [r for rows in records.by["unchanged"].values() for r in rows]
    alarms = orders = watched = 0
    for order in range(100):
        rng = random.Random(f"order{order}")
        rows = list(everything)
        rng.shuffle(rows)
        watch = ProbeWatch(key=f"order{order}")
        for i, row in enumerate(rows):
            watch.observe_round(f"r{i}", {str(p): row[p] for p in range(len(PROBES))})
        orders += 1
        watched += len(rows) - 26
        alarms += watch.max_log_e >= LINE
    return alarms, orders, watched


def sampling(records: Records) -> dict[str, list[int | None]]:
    """Completions to the alarm: baseline of ten completions a prompt, then rounds of five."""
    scored: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name, rows in records.completions.items():
        by: dict[str, list[dict[str, float]]] = {}
        for row in rows:
            drawn = [Drawn(t[1], tuple(t[2])) for t in row["tokens"]]
            if drawn:
                by.setdefault(str(row["prompt"]), []).append(
                    sampling_scores(drawn, temperature=TEMPERATURE)
                )
        scored[name] = by
    found: dict[str, list[int | None]] = {}
    for name in scored:
        for b in range(BASELINES):
            rng = random.Random(f"sampling{b}")
            base: dict[str, list[dict[str, float]]] = {}
            rest: dict[str, list[dict[str, float]]] = {}
            for prompt, rows in scored["unchanged"].items():
                mixed = rng.sample(rows, len(rows))
                base[prompt], rest[prompt] = mixed[:10], mixed[10:]
            watch = SamplingWatch.start(base, key=f"s{b}")
            pool = rest if name == "unchanged" else scored[name]
            prompts, asked, alarm = sorted(base), 0, None
            # The records are used once each; an unchanged life is as long as they last.
            left = {p: rng.sample(pool[p], len(pool[p])) for p in prompts}
            turn = 0
            while any(left.values()):
                texts = [prompts[(turn + i) % len(prompts)] for i in range(5)]
                turn += 5
                answers = {p: [left[p].pop()] for p in texts if left[p]}
                if not answers:
                    continue
                asked += len(answers)
                watch.observe_round(f"r{turn}", answers)
                if watch.max_log_e >= LINE:
                    alarm = asked
                    break
            found.setdefault(name, []).append(alarm)
    return found


def quantile(values: Sequence[int | None], q: float) -> float:
    """With "never" as infinity."""
    if not values:
        return math.nan
    numbers = sorted(math.inf if v is None else float(v) for v in values)
    return numbers[min(len(numbers) - 1, int(q * len(numbers)))]


def say(value: float) -> str:
    return "–" if math.isinf(value) or math.isnan(value) else f"{round(value, 2):g}"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    print(f"\n{title}\n")
    cells = [list(map(str, head)), *[list(map(str, row)) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    for n, row in enumerate(cells):
        line = (c.ljust(w) for c, w in zip(row, widths, strict=True))
        print("  ".join(line).rstrip())
        if n == 0:
            print("  ".join("-" * w for w in widths))


def main() -> None:
    cache = Path(sys.argv[1] if len(sys.argv) > 1 else ".govtrack/bench-probes")
    recorder = Recorder(cache)
    if "--records" not in sys.argv:
        recorder.everything()
    recorder.tokens()
    records = Records(cache)
    started = time.perf_counter()
    results: dict[str, Any] = {}
    goals: list[dict[str, Any]] = []

    def goal(name: str, wanted: str, value: float, met: bool) -> None:
        shown = None if math.isinf(value) or math.isnan(value) else value
        goals.append({"name": name, "goal": wanted, "value": shown, "met": bool(met)})

    cold, _ = detection(records, tokens=False, late=False)
    late, false_late = detection(records, tokens=False, late=True)
    border, _ = detection(records, tokens=True, late=False)
    border_late, border_false = detection(records, tokens=True, late=True)
    others = methods.compare(records, border_prompts)
    rows = []
    for name in cold:
        share = statistics.mean(r is not None for r in border[name])
        rows.append(
            [
                name,
                say(quantile(cold[name], 0.5)),
                say(quantile(cold[name], 0.9)),
                say(quantile(late[name], 0.5)),
                say(quantile(border[name], 0.5)),
                f"{share:.0%}",
                say(quantile(border_late[name], 0.5)),
            ]
        )
        results[name] = {
            "logprob_rounds": quantile(cold[name], 0.5),
            "logprob_rounds_90": quantile(cold[name], 0.9),
            "logprob_rounds_day_365": quantile(late[name], 0.5),
            "border_rounds": quantile(border[name], 0.5),
            "border_found": share,
            "border_rounds_day_365": quantile(border_late[name], 0.5),
        }
    table(
        f"Rounds of 20 one-token requests to the alarm (– : not within {MOST_ROUNDS})",
        [
            "change",
            "logprobs median",
            "90 %",
            "after 365 quiet rounds",
            "border median",
            "found",
            "border after 365",
        ],
        rows,
    )
    for name in ("prefix", "weights_q4_0", "kv_q4_0"):
        if name in cold:
            value = quantile(cold[name], 0.9)
            goal(f"{name} with logprobs, 90th percentile", "first round", value, value <= 1)
    for name in ("kv_q8_0", "one_layer", "noise_2^-8"):
        if name in cold:
            value = max(quantile(cold[name], 0.5), quantile(late[name], 0.5))
            goal(f"{name} with logprobs, cold and day 365", "median ≤ 2 rounds", value, value <= 2)
    for name in ("prefix", "weights_q4_0", "kv_q4_0"):
        if name in border:
            value = quantile(border[name], 0.5) * 20
            goal(f"{name} without logprobs", "≤ 60 one-token requests", value, value <= 60)

    quiet = {
        "log-probabilities": unchanged(records, tokens=False),
        "border inputs": unchanged(records, tokens=True),
        "log-probabilities, recorded rounds in random order": permuted(records),
        "log-probabilities, baseline on a quiet server (refused by the product)": unchanged(
            records, tokens=False, narrow=True
        ),
    }
    table(
        "Unchanged: lives with any alarm (a third of each under changing load)",
        ["probe", "alarms", "lives", "rounds"],
        [[name, *figures] for name, figures in quiet.items()],
    )
    for name in ("log-probabilities", "border inputs"):
        alarms, lives, rounds = quiet[name]
        goal(f"{name}: false alarms in {rounds} unchanged rounds", "≤ 1 % of lives", alarms / lives,
             alarms / lives <= 0.01)  # fmt: skip
    results["unchanged"] = {name: list(figures) for name, figures in quiet.items()}
    results["false alarms before day 365"] = [false_late, border_false]

    drawn = sampling(records)
    rows = []
    for name, values in drawn.items():
        median, most = quantile(values, 0.5), quantile(values, 0.9)
        share = statistics.mean(v is not None for v in values)
        rows.append([name, say(median), say(most), f"{share:.0%}"])
        results[f"sampling {name}"] = {"completions": median, "found": share}
    table(
        "Sampling watch: completions of 16 tokens to the alarm (as long as the records last)",
        ["condition", "median", "90 %", "alarmed"],
        rows,
    )
    for name, most in (("temperature_0.8", 150), ("penalty_1.15", 50)):
        if name in drawn:
            value = quantile(drawn[name], 0.5)
            goal(f"sampling: {name}", f"≤ {most} completions", value, value <= most)

    tokens_ours = {n: quantile(v, 0.5) * records.round_tokens for n, v in cold.items()}
    border_ours = {n: quantile(v, 0.5) * 20 * records.border_tokens for n, v in border.items()}
    rows = [
        [name, say(tokens_ours[name]), say(border_ours[name]), *[
            say(others[m][name]) for m in others
        ]]
        for name in cold
    ]  # fmt: skip
    table(
        "Tokens to detection, cold (median; – : not found). Others with oracle thresholds",
        ["change", "ours, logprobs", "ours, border", *others],
        rows,
    )
    results["tokens"] = {
        name: {"ours": tokens_ours[name], "border": border_ours[name]}
        | {m: others[m][name] for m in others}
        for name in cold
    }
    published = "LT, published test"
    worse = [n for n in cold if tokens_ours[n] > others[published][n]]
    goal(f"tokens beside {published}", "no more for any change", len(worse), not worse)
    for name in cold:
        met = others["MET (MMD)"][name]
        if math.isfinite(met):
            ratio = border_ours[name] / met
            goal(
                f"{name}: border inputs beside MET", "≤ 1/30 of its tokens", ratio, ratio <= 1 / 30
            )
    print(f"\n{time.perf_counter() - started:.0f} s; {CHANGED_ROUNDS} recorded rounds a change")
    print("Sampling conditions recorded:", ", ".join(SAMPLING))
    print(json.dumps(_plain({"benchmark": "probes", "results": results, "goals": goals})))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


Detect = Callable[[str], float]

if __name__ == "__main__":
    main()
