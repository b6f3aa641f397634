"""Record a real model once for each condition; the benchmark resamples rounds from the records.

    python -m benchmarks.detection.live_record CACHE [condition ...]

llama.cpp with Gemma 3 270M, four slots, behind one name. One-token requests at T = 0 with the
top 20 log-probabilities, under four loads: `quiet` (one at a time, no prompt cache), `cached` (one
at a time, prompt cache), `light` and `heavy` (two and four at once, in random order, prompt cache).
Unchanged rounds go over restarts. Completions of 16 tokens at T = 0.7, four at once. Each record is
a JSON file; a file that is there is not recorded again.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from apps.drift.probes_prompts import PROBES, candidates
from benchmarks.detection.live_models import EDITS, weights_file
from benchmarks.detection.live_prompts import questions
from govtrack.demo.provider import CHATTY, MODEL, model_file

ROOT = Path(__file__).parents[2]
ENGINE = (
    "import sys, json; from pathlib import Path;"
    "from govtrack.demo.provider import run_engine, Kind;"
    "run_engine(Path(sys.argv[1]), Kind(**json.loads(sys.argv[2])), int(sys.argv[3]))"
)
KINDS: dict[str, dict[str, Any]] = {
    "unchanged": {},
    "prefix": {"prefix": CHATTY},
    "weights_q4_0": {},
    "kv_q4_0": {"cache_type": "q4_0"},
    "kv_q8_0": {"cache_type": "q8_0"},
    **{name: {} for name in EDITS},
}
LOADS = {"quiet": (1, False), "cached": (1, True), "light": (2, True), "heavy": (4, True)}
UNCHANGED_ROUNDS = {"quiet": 3, "cached": 9, "light": 24, "heavy": 24}
CHANGED_ROUNDS = {"cached": 2, "light": 5, "heavy": 5}
SAMPLING: dict[str, dict[str, Any]] = {
    "unchanged": {},
    "temperature_0.8": {"temperature": 0.8},
    "top_p_0.9": {"top_p": 0.9},
    "top_p_0.95": {"top_p": 0.95},
    "penalty_1.15": {"repeat_penalty": 1.15},
    "logit_bias": {"logit_bias": "newline -2"},
}
COMPLETION_TOKENS = 16
BORDER_PROMPTS = 40


class Engine:
    def __init__(self, model: Path, kind: dict[str, Any], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        env = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
        env["PYTHONPATH"] = str(ROOT)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, str(model), json.dumps(kind), str(port)],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health", timeout=2, trust_env=False).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError("the engine did not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


async def ask(
    client: httpx.AsyncClient, prompt: str, *, tokens: int = 1, top: int = 20, **options: Any
) -> dict[str, Any]:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": top,
        **options,
    }
    answer = await client.post("/v1/chat/completions", json=body)
    answer.raise_for_status()
    return dict(answer.json())


def first_token(answer: dict[str, Any]) -> list[list[Any]]:
    content = answer["choices"][0]["logprobs"]["content"][0]
    return [[t["token"], round(t["logprob"], 6)] for t in content["top_logprobs"]]


async def _round(
    client: httpx.AsyncClient, prompts: list[str], load: str, rng: random.Random
) -> list[list[list[Any]]]:
    at_once, cache = LOADS[load]
    order = list(range(len(prompts)))
    if at_once > 1:
        rng.shuffle(order)
    gate = asyncio.Semaphore(at_once)
    found: dict[int, list[list[Any]]] = {}

    async def one(i: int) -> None:
        async with gate:
            found[i] = first_token(await ask(client, prompts[i], cache_prompt=cache))

    await asyncio.gather(*(one(i) for i in order))
    return [found[i] for i in range(len(prompts))]


async def _probes(url: str, prompts: list[str], rounds: dict[str, int], seed: int) -> list[Any]:
    rng = random.Random(seed)
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        made = []
        for load, count in rounds.items():
            for _ in range(count):
                made.append({"load": load, "tops": await _round(client, prompts, load, rng)})
        return made


async def _completions(url: str, each: int, options: dict[str, Any]) -> list[Any]:
    async with httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as client:
        if options.get("logit_bias"):
            token = (await client.post("/tokenize", json={"content": "\n"})).json()["tokens"]
            options = {"logit_bias": [[token[-1], -2.0]]}
        gate = asyncio.Semaphore(4)

        async def one(i: int, k: int) -> dict[str, Any]:
            async with gate:
                answer = await ask(
                    client,
                    PROBES[i],
                    tokens=COMPLETION_TOKENS,
                    **{"temperature": 0.7, "top_p": 1.0, "top_k": 0, "min_p": 0.0} | options,
                )
            choice = answer["choices"][0]
            return {
                "prompt": i,
                "text": choice["message"]["content"],
                "tokens": [
                    [
                        t["token"],
                        round(t["logprob"], 5),
                        [round(x["logprob"], 4) for x in t["top_logprobs"]],
                        [x["token"] for x in t["top_logprobs"]].index(t["token"])
                        if t["token"] in [x["token"] for x in t["top_logprobs"]]
                        else -1,
                    ]
                    for t in choice["logprobs"]["content"]
                ],
            }

        tasks = [one(i, k) for k in range(each) for i in range(len(PROBES))]
        return list(await asyncio.gather(*tasks))


def border_of(screened: list[Any]) -> list[int]:
    """The candidates with the smallest gap between the two likeliest tokens."""
    gaps = [top[0][1] - top[1][1] for top in screened]
    return sorted(range(len(gaps)), key=lambda i: gaps[i])[:BORDER_PROMPTS]


class Recorder:
    def __init__(self, cache: Path) -> None:
        self.cache = cache
        cache.mkdir(parents=True, exist_ok=True)
        self.model = model_file(cache)

    def path(self, name: str) -> Path:
        return self.cache / f"{name}.json"

    def save(self, name: str, document: Any) -> None:
        fresh = self.path(name).with_suffix(".part")
        fresh.write_text(json.dumps(document))
        fresh.replace(self.path(name))
        print(f"{time.strftime('%H:%M:%S')} recorded {name}", flush=True)

    def engine(self, name: str) -> Engine:
        edited = name in EDITS or name == "weights_q4_0"
        model = weights_file(self.model, name) if edited else self.model
        return Engine(model, KINDS[name], random.randint(20_000, 29_000))

    def screening(self) -> list[Any]:
        if not self.path("screening").exists():
            engine = self.engine("unchanged")
            try:
                rounds = asyncio.run(_probes(engine.url, list(candidates()), {"quiet": 1}, 0))
                self.save("screening", rounds[0]["tops"])
            finally:
                engine.stop()
        return list(json.loads(self.path("screening").read_text()))

    def prompts(self) -> list[str]:
        chosen = border_of(self.screening())
        return [*PROBES, *(candidates()[i] for i in chosen)]

    def probes(self, name: str) -> None:
        """One-token rounds, and the questions once."""
        if self.path(f"probes-{name}").exists():
            return
        prompts, rounds = self.prompts(), []
        plan = UNCHANGED_ROUNDS if name == "unchanged" else CHANGED_ROUNDS
        restarts = 3 if name == "unchanged" else 1
        asked: Any = None
        for part in range(restarts):
            engine = self.engine(name)
            try:
                share = {load: n // restarts for load, n in plan.items()}
                rounds += asyncio.run(_probes(engine.url, prompts, share, part))
                if part == 0:
                    texts = [text for text, _ in questions()]
                    asked = asyncio.run(_probes(engine.url, texts, {"cached": 1}, 0))[0]["tops"]
            finally:
                engine.stop()
        self.save(f"probes-{name}", {"prompts": prompts, "rounds": rounds, "questions": asked})

    def completions(self, name: str, each: int, sampling: str = "unchanged") -> None:
        label = f"completions-{name if sampling == 'unchanged' else sampling}"
        if self.path(label).exists():
            return
        engine = self.engine(name)
        try:
            self.save(label, asyncio.run(_completions(engine.url, each, SAMPLING[sampling])))
        finally:
            engine.stop()

    def tokens(self) -> None:
        """How many tokens each prompt has."""
        if self.path("tokens").exists():
            return
        engine = self.engine("unchanged")
        try:
            with httpx.Client(base_url=engine.url, timeout=60, trust_env=False) as client:

                def count(text: str) -> int:
                    answer = client.post("/tokenize", json={"content": text, "add_special": True})
                    return len(answer.json()["tokens"])

                texts = [text for text, _ in questions()]
                self.save(
                    "tokens",
                    {
                        "prompts": [count(p) for p in self.prompts()],
                        "questions": [count(t) for t in texts],
                    },
                )
        finally:
            engine.stop()

    def everything(self) -> None:
        for name in KINDS:
            self.probes(name)
        self.completions("unchanged", 30)
        for sampling in SAMPLING:
            self.completions("unchanged", 15, sampling)
        for name in KINDS:
            self.completions(name, 8)


if __name__ == "__main__":
    Recorder(Path(sys.argv[1])).everything()
