"""The table of faults survived, from the rows that `make faults` collected:
`python -m tests.faults.table ROWS.jsonl`. Its last line is one JSON object."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = {
    "fault": "fault",
    "slots": "slots",
    "samples": "samples",
    "duplicates": "duplicates",
    "asked_again": "stored and asked again",
    "repeated": "answered twice",
    "in_flight": "calls in flight",
    "went_on_after": "goes on after (s)",
    "seconds": "all (s)",
}


def goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def goal(name: str, wanted: str, value: object, met: bool) -> dict[str, Any]:
        return {"name": name, "goal": wanted, "value": value, "met": met}

    whole = sum(r["samples"] == r["slots"] and not r["duplicates"] for r in rows)
    again = sum(r["asked_again"] for r in rows)
    bound = sum(r["repeated"] <= r["in_flight"] for r in rows)
    slots = min((r["slots"] for r in rows), default=0)
    return [
        goal("faults survived with one sample a slot", f"= {len(rows)}", whole, whole == len(rows)),
        goal("stored answers asked for again", "= 0", again, again == 0),
        goal(
            "faults with repeats within calls in flight",
            f"= {len(rows)}",
            bound,
            bound == len(rows),
        ),
        goal("slots a run", ">= 2000", slots, slots >= 2000),
    ]


def main(path: str) -> int:
    file = Path(path)
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    print("| " + " | ".join(COLUMNS.values()) + " |")
    print("|---" * len(COLUMNS) + "|")
    for row in rows:
        print(
            "| "
            + " | ".join(f"{row[key]:,}" if key == "slots" else str(row[key]) for key in COLUMNS)
            + " |"
        )
    met = goals(rows)
    print(json.dumps({"benchmark": "faults", "results": rows, "goals": met}))
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
