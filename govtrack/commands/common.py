"""What the commands share: options, the acting person, errors as sentences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from govtrack import stack
from govtrack.embedded import EmbeddedError

if TYPE_CHECKING:
    from apps.accounts.models import User
    from apps.registry.models import ModelVersion

# No markup: names, reasons and paths come from people and models, and may hold brackets.
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)

DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="GOVTRACK_DATA_DIR", help="Where the data lives.")
]
As = Annotated[
    str,
    typer.Option(
        "--as", envvar="GOVTRACK_AS", help="E-mail of the person acting; the history names them."
    ),
]


def fail(message: str, *, remedy: str = "", status: int = 1) -> NoReturn:
    err.print(f"[red]✕[/red] {escape(message)}", markup=True, soft_wrap=True)
    if remedy:
        err.print(f"  {remedy}", soft_wrap=True)
    raise typer.Exit(status)


@contextmanager
def product(data_dir: Path) -> Iterator[None]:
    """Django on the running stack; our errors end the command with a sentence and status 1."""
    try:
        stack.use_running(data_dir)
    except RuntimeError as error:
        fail(str(error))
    with sentences():
        yield


@contextmanager
def sentences() -> Iterator[None]:
    """Our errors end the command with a sentence and status 1. Needs Django."""
    from django.db import DatabaseError, OperationalError

    from apps.core.errors import GovTrackError

    try:
        yield
    except GovTrackError as error:
        for problem in error.problems[:20]:
            where = ":".join(str(problem[k]) for k in ("file", "line", "column") if problem.get(k))
            err.print(f"  {where} {problem.get('path', '')}: {problem.get('message', '')}")
        named = f"{error.field}: " if error.field else ""
        fail(named + error.message, remedy=error.remedy)
    except OperationalError as error:
        fail(f"The database does not answer: {error}", remedy="Run `govtrack doctor`.")
    except DatabaseError as error:
        fail(f"The database refused this: {error}")
    except EmbeddedError as error:
        fail(str(error))


def acting(email: str) -> User:
    """The person that a command acts for; without --as, the only active administrator."""
    from apps.accounts.models import Role, User

    if email:
        user = User.objects.filter(email__iexact=email, is_active=True).first()
        if user is None:
            fail(f"--as: nobody active has the e-mail address {email}.")
        return user
    admins = list(
        User.objects.filter(
            is_active=True,
            role_assignments__role=Role.ADMINISTRATOR,
            role_assignments__team__isnull=True,
        ).distinct()[:2]
    )
    if not admins:
        fail("There is no administrator yet.", remedy="Create one: `govtrack createadmin`.")
    if len(admins) > 1:
        fail(
            "--as: say who acts: there is more than one administrator.",
            remedy="For example `--as ada@example.com`, or set GOVTRACK_AS.",
        )
    return admins[0]


def version_named(name: str) -> ModelVersion:
    """A model version by id or label."""
    import uuid

    from apps.registry.models import ModelVersion

    versions = ModelVersion.objects.select_related("model__provider", "endpoint")
    try:
        found = list(versions.filter(pk=uuid.UUID(name)))
    except ValueError:
        found = list(versions.filter(label=name)[:2])
    if not found:
        known = ", ".join(versions.order_by("label").values_list("label", flat=True)[:10])
        fail(f"version: there is none called {name}.", remedy=f"Known: {known or 'none yet'}.")
    if len(found) > 1:
        fail(f"version: more than one is called {name}.", remedy="Give its id instead.")
    return found[0]
