"""`govtrack audit`: is the history intact?"""

from __future__ import annotations

from typing import Annotated

import typer

from govtrack import stack
from govtrack.commands.common import DataDir, fail, out, product

app = typer.Typer(help="The append-only history.", no_args_is_help=True)


@app.command("verify")
def verify(data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Recompute every hash, number and tree root; names the first bad entry."""
    with product(data_dir):
        from apps.audit.services import verify as verify_log

        result = verify_log()
        if not result.ok:
            fail(result.sentence(), remedy="Compare with a backup; keep this database as it is.")
        out.print(f"✓ {result.sentence()}", soft_wrap=True)
        out.print(f"  root {result.root}", soft_wrap=True)


@app.command("tail")
def tail(
    lines: Annotated[int, typer.Option("-n", min=1, max=1000)] = 20,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Print the newest entries."""
    with product(data_dir):
        from apps.audit.models import AuditEvent

        for event in reversed(AuditEvent.objects.order_by("-occurred_at")[:lines]):
            out.print(f"{event.occurred_at:%Y-%m-%d %H:%M:%SZ}  {event.summary}", markup=False)
