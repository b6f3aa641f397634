"""How wall, CPU and memory grow with the samples and with the runs at once, and what it takes to
import a large suite: `python -m benchmarks.engine --growth`. No latency, 64 at once an endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.engine.control import ROOT, Provider, Variant, prompt, question
from benchmarks.engine.product import Product, Unfinished

# (cases, runs at once), the cheapest first.
STEPS = ((1_000, 1), (10_000, 1), (1_000, 10), (100, 100), (100_000, 1))
MOST_MB = 500
IMPORT_MOST_MB = 300
# A step may be this much dearer than its share of the one before; beyond that something in it
# grows faster than the samples do.
LINEAR = 1.3


def measure(*, least: int, most: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """The steps of `least` to `most` samples, as far as `seconds` reach; the rest are named."""
    deadline = time.monotonic() + seconds
    rows: list[dict[str, Any]] = []
    imports: list[dict[str, Any]] = []
    left_out: list[str] = []
    with Provider() as provider, Product() as product:
        variant = Variant("growth", "growth", 64, median=0.0)
        product.measure(provider, variant, 100)
        for cases in sorted({c for c, runs in STEPS if runs == 1 and least <= c <= most}):
            imports.append(imported(product, cases))
            say(f"  import {imports[-1]}")
        for cases, runs in STEPS:
            total = cases * runs
            if not least <= total <= most:
                continue
            left = deadline - time.monotonic()
            try:
                if left <= 0:
                    raise Unfinished("no time was left")
                found = product.measure(provider, variant, cases, runs=runs, patience=left)
            except Unfinished as error:
                left_out.append(f"{total:,} samples in {runs} runs: {error}")
                say(f"  left out: {left_out[-1]}")
                break  # its run is still under way, and would be in the figures of the next
            rows.append(
                {
                    "samples": total,
                    "runs": runs,
                    "wall_s": round(found["wall"], 2),
                    "samples_per_s": round(total / found["wall"]),
                    "cpu_ms": round(1000 * found["cpu"] / total, 2),
                    "database_cpu_ms": round(1000 * found["database_cpu"] / total, 2),
                    "writes": round(1000 * found["transactions"] / total),
                    "mb": round(found["mb"]),
                }
            )
            say(f"  {rows[-1]}")
    return {"rows": rows, "imports": imports, "left_out": left_out, "load": os.getloadavg()}


def imported(product: Product, cases: int) -> dict[str, Any]:
    """`govtrack suite import` of a folder with so many cases, in a process of its own."""
    folder = product.folder / f"suite-{cases}"
    write_suite(folder, cases)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "govtrack.cli", "suite", "import", str(folder)],
        cwd=ROOT,
        env={**product.env, "GOVTRACK_AS": product.administrator()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = process.stdout.read().decode("utf-8", "replace")
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"the import of {cases:,} cases failed: {said[-500:]}")
    return {
        "cases": cases,
        "file_mb": round((folder / "cases.jsonl").stat().st_size / 1e6, 1),
        "seconds": round(time.monotonic() - started, 1),
        "mb": round(usage.ru_maxrss * 1024 / 1e6),
    }


def write_suite(folder: Path, cases: int) -> None:
    """A suite folder like that which the runs use, its cases a line each."""
    folder.mkdir(exist_ok=True)
    head = {
        "schema": "govtrack/suite@1",
        "slug": f"import-{cases}",
        "name": f"{cases:,} claims",
        "summary": "Whether a claim is sent to the right desk.",
        "not_measured": "Everything else.",
        "license": "Apache-2.0",
        "source": "made by the benchmark",
        "personal_data": False,
        "prompt": "{{claim}} =>",
        "defaults": {"max_tokens": 8},
        "scorers": [{"key": "desk", "type": "choice", "choices": ["motor", "health"]}],
        "metrics": [
            {"key": "accuracy", "label": "Sent to the right desk", "scorer": "desk"}
            | {"direction": "higher", "margin": 0.05}
        ],
    }
    (folder / "suite.yaml").write_text(json.dumps(head), encoding="utf-8")
    with (folder / "cases.jsonl").open("w", encoding="utf-8") as file:
        for i in range(cases):
            case = {"id": prompt(i), "vars": {"claim": question(i)}, "expect": "motor"}
            file.write(json.dumps(case) + "\n")


def bends(rows: list[dict[str, Any]]) -> list[str]:
    """Where a sample of the largest single run costs clearly more than one of the smaller ones."""
    single = [row for row in rows if row["runs"] == 1]
    said = []
    for before, after in pairwise(single):
        for key in ("cpu_ms", "database_cpu_ms"):
            if after[key] > LINEAR * before[key]:
                said.append(
                    f"{key} a sample: {before[key]} at {before['samples']:,}, {after[key]} at "
                    f"{after['samples']:,}"
                )
    return said


def tables(found: dict[str, Any]) -> str:
    lines = [
        "| samples | runs at once | wall s | samples/s | CPU ms | database CPU ms "
        "| commits a 1,000 | MB a worker |",
        "|---|---|---|---|---|---|---|---|",
        *("| " + " | ".join(f"{v:,}" for v in row.values()) + " |" for row in found["rows"]),
        "",
        "| cases imported | file MB | s | MB |",
        "|---|---|---|---|",
        *("| " + " | ".join(f"{v:,}" for v in row.values()) + " |" for row in found["imports"]),
    ]
    lines += [f"Left out: {said}." for said in found["left_out"]]
    lines += [f"More than in proportion: {said}." for said in bends(found["rows"])]
    return "\n".join(lines)


def document(found: dict[str, Any]) -> dict[str, Any]:
    most = max((row["mb"] for row in found["rows"]), default=0)
    taken = max((row["mb"] for row in found["imports"]), default=0)
    dearer = bends(found["rows"])
    goals = [
        {"name": "MB a worker", "goal": f"< {MOST_MB}", "value": most, "met": most < MOST_MB},
        {"name": "MB of an import", "goal": f"< {IMPORT_MOST_MB}", "value": taken}
        | {"met": taken < IMPORT_MOST_MB},
        {"name": "costs grow in proportion", "goal": "yes", "value": "; ".join(dearer) or "yes"}
        | {"met": not dearer},
        {
            "name": "all steps measured",
            "goal": "yes",
            "value": "; ".join(found["left_out"]) or "yes",
        }
        | {"met": not found["left_out"]},
    ]
    return {"benchmark": "engine-growth", "results": found, "goals": goals}
