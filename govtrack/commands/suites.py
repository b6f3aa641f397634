"""`govtrack suite`: validate, import, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, err, fail, out, product, version_named

if TYPE_CHECKING:
    from apps.accounts.models import User
    from apps.evaluations.imports import Head
    from apps.evaluations.imports.converting import Converted
    from apps.evaluations.models import Run, SuiteRevision
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


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a suite file: point an editor at it."""
    from apps.evaluations.suitefile.schema import published

    print(published(), end="")


@app.command("validate")
def validate(path: SuitePath) -> None:
    """Check a suite without a database."""
    suite = load(path)
    out.print(f"✓ {suite.slug}: {len(suite.cases)} cases, {suite.content_hash}", soft_wrap=True)


FormatName = Annotated[
    str,
    typer.Option(
        "--format",
        help="promptfoo, openai-evals, inspect-dataset, inspect-log, recordings or csv; without it "
        "the file's name and beginning decide.",
    ),
]


@app.command("import")
def import_(
    path: SuitePath,
    format_: FormatName = "",
    scorer: Annotated[
        str, typer.Option(help="How answers are judged where the file does not say.")
    ] = "",
    template: Annotated[
        str, typer.Option(help="Template of the prompt for a table, with {{column}}.")
    ] = "",
    slug: Annotated[str, typer.Option(help="Short name of the suite.")] = "",
    name: Annotated[str, typer.Option(help="Name for people.")] = "",
    license_: Annotated[str, typer.Option("--license", help="Licence of the data (SPDX).")] = "",
    source: Annotated[str, typer.Option(help="Where the cases come from.")] = "",
    personal_data: Annotated[
        bool | None,
        typer.Option("--personal-data/--no-personal-data", help="Whether cases hold any."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    answers_of: Annotated[
        list[str] | None,
        typer.Option(
            "--answers",
            help="MODEL=VERSION: store the recorded answers of MODEL as a run of VERSION (a label "
            "or id). May be given several times; the first becomes the baseline run.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Say what would be carried over; store nothing.")
    ] = (False),
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Store a suite as a new revision; the same content again changes nothing."""
    from apps.evaluations.imports import Head

    kind = format_ or _guessed(path)
    if not kind or kind == "govtrack":
        suite, origin, converted = load(path), {}, None
    else:
        head = Head(slug, name, license=license_, source=source, personal_data=personal_data)
        converted = _convert(path, kind, head, scorer, template)
        suite, origin = converted.suite, converted.origin
    if dry_run:
        out.print(f"✓ {suite.slug}: {len(suite.cases)} cases; nothing was stored.")
        return
    with product(data_dir):
        from apps.evaluations.suites import import_suite

        actor = acting(as_)
        revision, created = import_suite(actor=actor, suite=suite, reason=reason, origin=origin)
        word = "imported" if created else "already there, unchanged"
        out.print(f"✓ {revision} ({revision.case_count} cases): {word}")
        for index, pair in enumerate(answers_of or ()):
            _keep_answers(actor, revision, converted, pair, baseline=index == 0)


def _guessed(path: Path) -> str:
    from apps.evaluations.imports import guess

    try:
        with path.open("rb") as file:
            return guess(path.name, file.read(4096))
    except OSError:
        return ""  # a folder, or a path that the reader will complain about


def _convert(path: Path, kind: str, head: Head, scorer: str, template: str) -> Converted:
    """Reads the file and prints what carries over, or ends with every problem."""
    from apps.evaluations import imports
    from apps.evaluations.imports.converting import convert
    from apps.evaluations.suitefile import SuiteError
    from apps.evaluations.suitefile.images import read_beside

    try:
        found = convert(
            kind,
            path.read_bytes(),
            filename=path.name,
            head=head,
            options=imports.Options(scorer, template),
            files=lambda name: read_beside(path.parent, name),
        )
    except OSError as error:
        fail(f"{path}: {error.strerror}.", remedy="Give a file.")
    except SuiteError as error:
        for problem in error.problems[:50]:
            err.print(f"{problem.path}: {problem.message}", soft_wrap=True)
        fail(f"{path}: {len(error.problems)} problem(s); nothing was imported.")
    except imports.ImportRefused as error:
        fail(f"{path}: {error}")
    for said in found.origin["carried"]:
        out.print(f"  carried over: {said}", soft_wrap=True)
    for loss in found.origin["left_out"]:
        where = f" ({', '.join(loss['where'])}{', …' if loss['count'] > 5 else ''})"
        out.print(
            f"  left out: {loss['what']}: {loss['why']}{where if loss['where'] else ''}",
            soft_wrap=True,
        )
    return found


def _keep_answers(
    actor: User, revision: SuiteRevision, found: Converted | None, pair: str, *, baseline: bool
) -> None:
    from apps.evaluations.foreign import store_answers

    model, _, version = pair.rpartition("=")
    if found is None or model not in found.models:
        known = ", ".join(found.models) if found else ""
        fail(f"answers: there are none of '{model}'.", remedy=f"Known: {known or 'none'}.")
    origin = found.origin
    run = store_answers(
        actor=actor,
        model_version=version_named(version),
        suite_revision=revision,
        answers=[a for a in found.answers if a.model == model],
        source=f"Recorded answers of {model} from {origin['file']} "
        f"(SHA-256 {origin['sha256'][:16]}…).",
        purpose="baseline" if baseline else "manual",
    )
    accuracy = ", ".join(
        f"{key} {value:.3f}"
        for key, value in run.totals["metrics"].items()
        if not key.startswith(("style.", "outcome."))
    )
    out.print(
        f"✓ {run.total_slots} answers of {model} stored as run {run.pk}: {accuracy}", soft_wrap=True
    )
    if baseline:
        _set_baseline(actor, run)


def _set_baseline(actor: User, run: Run) -> None:
    """Later runs, the next recorded ones too, are compared with these answers from now on."""
    from apps.accounts.permissions import can
    from apps.drift.services import create_baseline

    version = run.model_version
    if not can(actor, "baseline.set", version):
        out.print("  No baseline is set: that needs a model owner, lead or validator (--as).")
        return
    create_baseline(
        actor=actor, model_version=version, suite_revision=run.suite_revision, runs=[run]
    )
    out.print("✓ These answers are the baseline; the next ones are compared with them.")


@app.command("export")
def export(
    slug: str,
    format_: Annotated[
        str,
        typer.Option("--format", help="govtrack, promptfoo, openai-evals, inspect-dataset, csv."),
    ] = "govtrack",
    revision_number: Annotated[
        int | None, typer.Option("--revision", help="Its number; the newest without it.")
    ] = None,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Write a revision of a suite to standard output, in our own form or another tool's."""
    with product(data_dir):
        from apps.evaluations import imports
        from apps.evaluations.stored import images_of, suite_of
        from apps.evaluations.suitefile import dump_suite

        revision = _revision(slug, revision_number)
        suite = suite_of(revision)
        if format_ == "govtrack":
            sys.stdout.buffer.write(dump_suite(suite, images_of(suite)))
            return
        try:
            content, losses = imports.write(format_, suite)
        except imports.ImportRefused as error:
            fail(str(error))
        for loss in losses:
            err.print(f"left out: {loss}", soft_wrap=True)
        sys.stdout.buffer.write(content)


def _revision(slug: str, number: int | None) -> SuiteRevision:
    from apps.evaluations.models import SuiteRevision

    rows = SuiteRevision.objects.filter(suite__slug=slug).order_by("-number")
    revision = (rows if number is None else rows.filter(number=number)).first()
    if revision is None:
        what = f"revision {number} of {slug}" if number is not None else f"suite called {slug}"
        fail(f"slug: there is no {what}.")
    return revision
