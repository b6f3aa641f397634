"""`govtrack recompute FILE`: the numbers of a change again, from its answers. Needs no database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from govtrack.commands.common import err, fail, out

BIGGEST = 500 * 1024 * 1024


def recompute(
    file: Annotated[Path, typer.Argument(help="The JSON that a change's page offers.")],
    every: Annotated[bool, typer.Option("--all", help="Print every number, not the last.")] = False,
) -> None:
    """Exit 0 when every recorded number comes out again, 1 when one differs or the file is bad."""
    from apps.drift.stats.recompute import recompute as again

    try:
        if file.stat().st_size > BIGGEST:
            fail(f"{file}: is larger than {BIGGEST // 1024 // 1024} MB.")
        document = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            raise ValueError("it must hold one object, {…}.")
        result = again(document)
    except OSError as error:
        fail(f"{file}: cannot be read ({error.strerror or error}).")
    except (ValueError, RecursionError) as error:
        fail(f"{file}: {error}", remedy="Download it again from the page of the change.")
    if not result.checks:
        fail("The file holds no look, so there is nothing to recompute.")
    for check in (
        result.checks if every else [c for c in result.checks if "combined" in c.where][-3:]
    ):
        out.print(f"{'✓' if check.same else '✕'} {check.where} {check.now}", soft_wrap=True)
    for check in result.differing[:20]:
        err.print(f"✕ {check.where}: recorded {check.recorded}, now {check.now}", soft_wrap=True)
    if not result.ok:
        fail(
            f"{len(result.differing)} of {len(result.checks)} numbers differ.",
            remedy="The file was changed, or this is another version of the statistics.",
        )
    out.print(
        f"✓ All {len(result.checks)} recorded numbers of {result.looks} looks come out again.",
        soft_wrap=True,
    )
