"""`govtrack suite`: validate, import, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, err, fail, out, product

if TYPE_CHECKING:
    from apps.evaluations.suitefile import Suite

app = typer.Typer(help="Evaluation suites: validate, import, export.", no_args_is_help=True)
SuitePath = Annotated[Path, typer.Argument(help="A suite folder, or a YAML or JSON file.")]


def load(path: Path) -> Suite:
    """Read a suite or end with every problem on a line of its own (file:line:column)."""
    from apps.evaluations.suitefile import SuiteError, load_suite_dir, parse_suite_bytes

    try:
        if path.is_dir():
            return load_suite_dir(path)
        return parse_suite_bytes(path.read_bytes(), filename=path.name)
    except OSError as error:
        fail(f"{path}: {error.strerror}.", remedy="Give a suite folder, or a YAML or JSON file.")
    except SuiteError as error:
        for problem in error.problems[:50]:
            place = f"{problem.file}:{problem.line or 0}:{problem.column or 0}"
            err.print(f"{place}: {problem.path}: {problem.message}", markup=False, soft_wrap=True)
        fail(f"{path}: {len(error.problems)} problem(s); nothing was imported.")


@app.command("validate")
def validate(path: SuitePath) -> None:
    """Check a suite without a database."""
    suite = load(path)
    out.print(f"✓ {suite.slug}: {len(suite.cases)} cases, {suite.content_hash}", soft_wrap=True)


@app.command("import")
def import_(path: SuitePath, as_: As = "", data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Store a suite as a new revision; the same content again changes nothing."""
    suite = load(path)
    with product(data_dir):
        from apps.evaluations.services import import_suite

        revision, created = import_suite(actor=acting(as_), suite=suite)
        word = "imported" if created else "already there, unchanged"
        out.print(f"✓ {revision} ({revision.case_count} cases): {word}")


@app.command("export")
def export(slug: str, data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Write the newest revision of a suite to standard output as YAML."""
    with product(data_dir):
        from apps.evaluations.models import SuiteRevision
        from apps.evaluations.stored import suite_of
        from apps.evaluations.suitefile import dump_suite

        revision = SuiteRevision.objects.filter(suite__slug=slug).order_by("-number").first()
        if revision is None:
            fail(f"slug: there is no suite called {slug}.")
        sys.stdout.buffer.write(dump_suite(suite_of(revision)))
