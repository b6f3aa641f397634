"""`govtrack`: the command line. Each command is a thin door to the services that pages use too."""

from __future__ import annotations

import typer

from govtrack.commands import (
    access,
    audit,
    demo,
    doctor,
    gate,
    money,
    probes,
    recompute,
    rescoring,
    runs,
    schedules,
    suites,
    up,
)

app = typer.Typer(
    name="govtrack",
    help="Which AI model version is approved for which use, and is it still that model?",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals may hold secrets
)
app.command("up")(up.up)
app.command("createadmin")(access.createadmin)
app.add_typer(access.token_app, name="token")
app.add_typer(suites.app, name="suite")
app.add_typer(runs.app, name="run")
app.add_typer(schedules.app, name="schedule")
app.add_typer(probes.app, name="probes")
app.add_typer(money.prices, name="price")
app.add_typer(money.budgets, name="budget")
app.command("gate")(gate.gate)
app.add_typer(audit.app, name="audit")
app.command("doctor")(doctor.doctor)
app.command("rescore")(rescoring.rescore)
app.command("recompute")(recompute.recompute)
app.command("demo")(demo.demo)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
