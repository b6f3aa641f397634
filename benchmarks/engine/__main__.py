"""GovTrack beside a bare loop, promptfoo and Inspect, in one run: `make bench-engine`.

    python -m benchmarks.engine [--rounds 3] [--cases 1000] [--only govtrack,bare,promptfoo,inspect]
                                [--variants c32,c64,c128,faults,zero] [--due 10000]
    python -m benchmarks.engine --growth [--least 1000] [--most 100000] [--seconds 1200]
    python -m benchmarks.engine --only govtrack --rounds 0 --due 10000

`--growth` measures only how things grow: 1,000 to 100,000 samples, and 1, 10 and 100 runs at once.
`--rounds 0` measures schedules alone.

Tables on stdout, and on its last line one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.engine import growth, report, schedules
from benchmarks.engine.control import Provider, Variant
from benchmarks.engine.peers import Bare, Inspect, NotInstalled, Peer, Promptfoo
from benchmarks.engine.product import Product

VARIANTS = (
    Variant("c32", "32 at once", 32),
    Variant("c64", "64 at once", 64),
    Variant("c128", "128 at once", 128),
    Variant("faults", "5 % 429, 2 % resets, 32 at once", 32, faults=True),
    Variant("zero", "no latency, 64 at once", 64, median=0.0),
)


def options() -> argparse.Namespace:
    quick = bool(os.environ.get("QUICK"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine")
    parser.add_argument("--rounds", type=int, default=1 if quick else 3)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument(
        "--only", default="govtrack,bare" if quick else "govtrack,bare,promptfoo,inspect"
    )
    parser.add_argument("--variants", default=",".join(v.key for v in VARIANTS))
    parser.add_argument(
        "--peers-dir",
        type=Path,
        default=Path(tempfile.gettempdir()) / "govtrack-bench-peers",
        help="where promptfoo and Inspect are installed, and found again",
    )
    parser.add_argument("--growth", action="store_true", help="only this; about 10 minutes")
    parser.add_argument(
        "--most", type=int, default=10_000 if quick else 100_000, help="samples of the growth"
    )
    parser.add_argument("--least", type=int, default=1_000, help="where the growth begins")
    parser.add_argument(
        "--seconds", type=float, default=1200, help="time for the growth; what is over is said"
    )
    parser.add_argument("--due", type=int, default=1_000 if quick else 10_000, help="0: leave out")
    return parser.parse_args()


def main() -> None:
    asked = options()
    if asked.growth:
        found = growth.measure(least=asked.least, most=asked.most, seconds=asked.seconds, say=say)
        print(growth.tables(found))
        print(json.dumps(growth.document(found)))
        return
    wanted = asked.only.split(",")
    variants = [v for v in VARIANTS if v.key in asked.variants.split(",")]
    missing: dict[str, str] = {}
    peers: dict[str, Peer] = {}
    kinds: dict[str, type[Peer]] = {"bare": Bare, "promptfoo": Promptfoo, "inspect": Inspect}
    for key, kind in kinds.items():
        if key not in wanted:
            continue
        peer = kind(asked.peers_dir)
        say(f"Looking for {peer.name} …")
        try:
            peer.install()
            peers[key] = peer
        except NotInstalled as error:
            missing[key] = str(error)
            say(f"{peer.name} cannot be installed here: {error}")
    figures: report.Figures = {}
    names = {"govtrack": "GovTrack", **{key: peer.name for key, peer in peers.items()}}
    extra: dict[str, Any] = {}
    with ExitStack() as stack:
        provider = stack.enter_context(Provider())
        product = stack.enter_context(Product()) if "govtrack" in wanted else None
        if product:
            warm = Variant("warm", "warm", 8, median=0.01)
            product.measure(provider, warm, 50)
        for number in range(asked.rounds):
            for variant in variants:
                if product:
                    note(
                        figures,
                        "govtrack",
                        variant,
                        product.measure(provider, variant, asked.cases),
                    )
                for key, peer in peers.items():
                    try:
                        note(figures, key, variant, peer.measure(provider, variant, asked.cases))
                    except RuntimeError as error:
                        say(f"{peer.name}, {variant.label}: {error}")
            say(f"Round {number + 1} of {asked.rounds} is done.")
        if product:
            extra["load"] = os.getloadavg()
            if asked.due:
                say("Measuring schedules …")
                schedules_of(product, provider, asked.due, extra)
    document = report.document(figures, variants, asked.cases, missing, extra)
    print(report.tables(figures, names, variants, asked.cases, missing, document))
    print(json.dumps(document))


def schedules_of(product: Product, provider: Provider, due: int, extra: dict[str, Any]) -> None:
    first = schedules.first_calls(product, provider)
    product.stop_workers()
    claimed = schedules.tickers(product, due=due)
    extra["due_to_first_call"], extra["tickers"] = first, claimed
    once = claimed["runs"] == claimed["schedules_with_one_run"] == claimed["due"]
    extra["goals"] = [
        {"name": "due to first call, p95 s", "goal": "< 2", "value": first["p95"]}
        | {"met": first["p95"] < 2},
        {"name": "schedules claimed exactly once", "goal": f"= {claimed['due']}"}
        | {"value": claimed["schedules_with_one_run"], "met": once},
    ]


def note(figures: report.Figures, tool: str, variant: Variant, measured: dict[str, float]) -> None:
    figures.setdefault((tool, variant.key), []).append(measured)
    say(
        f"  {tool:10} {variant.key:7} wall {measured['wall']:6.2f} s  "
        f"span {measured['span']:6.2f} s"
        f"  first {measured['first']:.2f} s  CPU {measured['cpu']:5.2f} s  {measured['mb']:4.0f} MB"
        + (f"  database CPU {measured['database_cpu']:.2f} s" if "database_cpu" in measured else "")
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
