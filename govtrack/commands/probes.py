"""`govtrack probes`: the cheap layers of a version, and its control arms."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated

import typer

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, fail, out, product, version_named

if TYPE_CHECKING:
    from apps.drift.models import Probe
    from apps.registry.models import ModelVersion

app = typer.Typer(help="Probes and control arms of a version.", no_args_is_help=True)
VersionOf = Annotated[str, typer.Argument(help="Label or id of a model version.")]
Kind = Annotated[
    str, typer.Argument(help="logprob, border, sampling, identity or passive; see `probes show`.")
]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="logprob, border, sampling, identity; may be repeated."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; the history shows it.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object instead of text.")]


@app.command("list")
def list_(data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Every probe in use, those with an alarm first."""
    with product(data_dir):
        from apps.drift.models import Probe

        rows = Probe.objects.filter(retired_at__isnull=True).select_related("model_version")
        for probe in rows.order_by("-max_log_e", "model_version__label", "kind"):
            out.print(f"{probe.model_version}  {_line(probe)}", soft_wrap=True)
        if not rows:
            out.print("No version is probed. Start with `govtrack probes start VERSION`.")


@app.command("show")
def show(
    version: VersionOf, as_json: Json = False, data_dir: DataDir = stack.DEFAULT_DATA_DIR
) -> None:
    """What watches a version: baseline, last round, tokens, alarm; and its controls."""
    with product(data_dir):
        from apps.drift.probes_selectors import (
            arms_of,
            coverage,
            current_probes,
            freshness,
            spending,
        )

        found = version_named(version)
        rows = current_probes(found)
        arms = arms_of(found)
        if as_json:
            out.print_json(
                json.dumps(
                    {
                        "version": str(found.pk),
                        "probes": [_document(p) for p in rows],
                        "tokens_a_day": spending(rows).a_day,
                        "controls": [
                            {"version": str(a.control.pk), "verdict": a.verdict} for a in arms
                        ],
                    }
                )
            )
            return
        if not rows:
            out.print(f"{found} is not probed. `govtrack probes start {version}`")
        for probe in rows:
            out.print(_line(probe), soft_wrap=True)
            if probe.note:
                out.print(f"  {probe.note}", soft_wrap=True)
            if c := coverage(probe):
                out.print(
                    f"  baseline: {c.rounds} of {c.rounds_wanted} rounds over {c.days:.1f} of "
                    f"{c.days_wanted:g} days; by hour (UTC) {_counts(c.quarters)}; "
                    f"at once {_counts(c.loads)}",
                    soft_wrap=True,
                )
            if f := freshness(probe):
                out.print(f"  border inputs: {f.undecided} of {f.inputs} still undecided")
            spent = spending([probe])
            if probe.tokens:
                out.print(f"  tokens: {spent.a_day:,.0f} a day, {spent.total:,} in all")
        for arm in arms:
            what = ", ".join(arm.shared) or "nothing yet"
            out.print(f"control {arm.control}: {arm.verdict}; compares {what}", soft_wrap=True)


@app.command("rounds")
def rounds(
    version: VersionOf,
    kind: Kind,
    last: Annotated[int, typer.Option("--last", min=1, max=1000)] = 20,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """The last rounds of one probe, newest first."""
    with product(data_dir):
        probe = _probe(version_named(version), kind)
        for row in probe.rounds_done.order_by("-number")[:last]:
            latency = "" if row.latency_ms is None else f"  {row.latency_ms:.0f} ms"
            out.print(
                f"{row.number:>5}  {row.finished_at:%Y-%m-%d %H:%M:%S}  {row.phase:<11}  "
                f"{row.answered}/{row.asked}  {row.tokens} tokens  {row.at_once} at once{latency}  "
                f"e {_e(row.log_e)}  {row.problem}".rstrip(),
                soft_wrap=True,
            )


@app.command("start")
def start(
    version: VersionOf,
    kind: Kinds = None,
    days: Annotated[
        float | None,
        typer.Option("--days", min=0.0, max=90.0, help="Of the baseline; fewer cries wolf."),
    ] = None,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Turn probes on. Without --kind: all that make sense."""
    with product(data_dir):
        from apps.drift.probing import start_probes

        made = start_probes(
            actor=acting(as_),
            model_version=version_named(version),
            kinds=kind or (),
            days_wanted=days,
        )
        for probe in made:
            out.print(f"✓ {_line(probe)}", soft_wrap=True)


@app.command("pause")
def pause(
    version: VersionOf, kind: Kind, as_: As = "", data_dir: DataDir = stack.DEFAULT_DATA_DIR
) -> None:
    """Ask nothing until it is resumed."""
    _switch(version, kind, as_, data_dir, on=False)


@app.command("resume")
def resume(
    version: VersionOf, kind: Kind, as_: As = "", data_dir: DataDir = stack.DEFAULT_DATA_DIR
) -> None:
    """Let a paused probe go on."""
    _switch(version, kind, as_, data_dir, on=True)


def _switch(version: str, kind: str, as_: str, data_dir: DataDir, *, on: bool) -> None:
    with product(data_dir):
        from apps.drift.probing import set_enabled

        probe = _probe(version_named(version), kind)
        probe = set_enabled(actor=acting(as_), probe=probe, enabled=on)
        out.print(f"✓ {_line(probe)}", soft_wrap=True)


@app.command("now")
def now(
    version: VersionOf,
    kind: Kind,
    reason: Reason,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Ask a round at once."""
    with product(data_dir):
        from apps.drift.probes_acts import ask_now

        ask_now(actor=acting(as_), probe=_probe(version_named(version), kind), reason=reason)
        out.print(f"✓ Asked within seconds: `govtrack probes rounds {version} {kind}`")


@app.command("record")
def record(
    version: VersionOf,
    kind: Kind,
    reason: Reason,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Record a probe's baseline again: what the model does from now on is taken for normal."""
    with product(data_dir):
        from apps.drift.probes_acts import record_again

        fresh = record_again(
            actor=acting(as_), probe=_probe(version_named(version), kind), reason=reason
        )
        out.print(f"✓ {_line(fresh)}", soft_wrap=True)


@app.command("unseen")
def unseen(
    version: VersionOf, as_json: Json = False, data_dir: DataDir = stack.DEFAULT_DATA_DIR
) -> None:
    """What this budget cannot see, with what is turned on for the version now."""
    with product(data_dir):
        from apps.drift.blind_spots import Sight, spots

        found = spots(version_named(version))
        if as_json:
            rows = [
                {"change": s.change, "sight": s.sight, "said": s.said, "remedy": s.remedy}
                for s in found
            ]
            out.print_json(json.dumps(rows))
            return
        mark = {Sight.UNSEEN: "✕", Sight.LATE: "◐"}
        for spot in found:
            if spot.sight == Sight.SEEN:
                continue
            out.print(f"{mark[spot.sight]} {spot.change}", soft_wrap=True)
            out.print(f"  {spot.said}", soft_wrap=True)
            if spot.remedy:
                out.print(f"  Would help: {spot.remedy}", soft_wrap=True)
        seen = sum(s.sight == Sight.SEEN for s in found)
        out.print(f"✓ {seen} other kinds of change are seen.")


@app.command("control")
def control(
    version: VersionOf,
    pinned: Annotated[str, typer.Argument(help="Label or id of a pinned version.")],
    remove: Annotated[bool, typer.Option("--remove", help="Take it off again.")] = False,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Make a pinned version the control: if it moves too, it is us and not the vendor."""
    with product(data_dir):
        from apps.drift.control_arms import add_control, remove_control
        from apps.drift.models import ControlArm

        watched, other = version_named(version), version_named(pinned)
        if not remove:
            add_control(actor=acting(as_), model_version=watched, control_version=other)
            out.print(f"✓ {other} is a control of {watched}.", soft_wrap=True)
            return
        arm = ControlArm.objects.filter(model_version=watched, control_version=other).first()
        if arm is None:
            fail(f"pinned: {other} is no control of {watched}.", remedy="`govtrack probes show`")
        remove_control(actor=acting(as_), arm=arm)
        out.print(f"✓ {other} is no control of {watched} any more.", soft_wrap=True)


def _probe(version: ModelVersion, kind: str) -> Probe:
    from apps.drift.probes_selectors import current_probes

    rows = {p.kind: p for p in current_probes(version)}
    if kind not in rows:
        known = ", ".join(rows) or "none yet"
        fail(f"kind: {version} has no probe “{kind}”.", remedy=f"In use: {known}.")
    return rows[kind]


def _line(probe: Probe) -> str:
    state = probe.get_phase_display() if probe.enabled else "paused"
    alarm = f"alarm {probe.alarmed_at:%Y-%m-%d %H:%M} UTC" if probe.alarmed_at else "no alarm"
    due = f"  next {probe.next_due_at:%Y-%m-%d %H:%M} UTC" if probe.next_due_at else ""
    return f"{probe.kind:<8}  {state}  {probe.rounds} rounds  e {_e(probe.log_e)}  {alarm}{due}"


def _document(probe: Probe) -> dict[str, object]:
    return {
        "id": str(probe.pk),
        "kind": probe.kind,
        "phase": probe.phase,
        "enabled": probe.enabled,
        "rounds": probe.rounds,
        "tokens": probe.tokens,
        "log_e": probe.log_e,
        "alarmed_at": probe.alarmed_at.isoformat() if probe.alarmed_at else None,
        "next_due_at": probe.next_due_at.isoformat() if probe.next_due_at else None,
        "note": probe.note,
    }


def _counts(found: dict[str, int] | dict[int, int]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in found.items())


def _e(log_e: float) -> str:
    return f"{math.exp(log_e):,.3g}" if log_e < 20 else f"above 10^{int(log_e / math.log(10))}"
