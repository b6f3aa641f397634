"""`govtrack createadmin` and `govtrack token`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer
from rich.table import Table

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, err, fail, out, product

token_app = typer.Typer(help="API tokens: create, list, revoke.", no_args_is_help=True)


def createadmin(
    email: Annotated[str, typer.Option(prompt="E-mail address")],
    name: Annotated[str, typer.Option(prompt="Name")],
    password: Annotated[
        str,
        typer.Option(
            prompt="Password (12 characters or more)",
            hide_input=True,
            confirmation_prompt=True,
            envvar="GOVTRACK_ADMIN_PASSWORD",
        ),
    ],
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Create an administrator. Without an administrator yet, anybody at this terminal may."""
    with product(data_dir):
        from apps.accounts.services import create_first_admin

        user = create_first_admin(email=email, display_name=name, password=password)
        out.print(f"✓ {user.name} <{user.email}> may sign in as administrator.")


@token_app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for, e.g. ci-claims.")],
    scope: Annotated[list[str], typer.Option(help="read, write, run, gate, decide, admin")],
    user: Annotated[str, typer.Option(help="E-mail of its user; the acting person if empty.")] = "",
    days: Annotated[int, typer.Option(help="Valid for so many days.", min=1, max=366)] = 90,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Create a token. Its secret is printed once, alone on standard output."""
    with product(data_dir):
        from apps.access.services import create_token
        from apps.core import clock

        actor = acting(as_)
        owner = acting(user) if user else actor
        token, secret = create_token(
            actor=actor,
            user=owner,
            name=name,
            scopes=scope,
            expires_at=clock.now() + dt.timedelta(days=days),
        )
        err.print(f"Token {token.prefix}… of {owner.name}, until {token.expires_at:%Y-%m-%d}:")
        typer.echo(secret)


@token_app.command("list")
def list_(as_: As = "", data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """List the tokens of the acting person."""
    with product(data_dir):
        from apps.access.models import ApiToken

        table = Table("Token", "Name", "Scopes", "Expires", "Last used", "State")
        for t in ApiToken.objects.filter(user=acting(as_)).order_by("-created_at"):
            used = f"{t.last_used_at:%Y-%m-%d %H:%M}" if t.last_used_at else "never"
            state = "revoked" if t.revoked_at else "active"
            table.add_row(
                f"{t.prefix}…", t.name, " ".join(t.scopes), f"{t.expires_at:%Y-%m-%d}", used, state
            )
        out.print(table)


@token_app.command("revoke")
def revoke(
    prefix: Annotated[str, typer.Argument(help="The token's prefix, as `token list` shows it.")],
    reason: Annotated[str, typer.Option()] = "",
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Revoke a token; it is refused from the next request on."""
    with product(data_dir):
        from apps.access.models import ApiToken
        from apps.access.services import revoke_token

        found = list(ApiToken.objects.filter(prefix__startswith=prefix.rstrip("…"))[:2])
        if len(found) != 1:
            fail(f"prefix: {'no token begins' if not found else 'several tokens begin'} so.")
        revoke_token(actor=acting(as_), token=found[0], reason=reason)
        out.print(f"✓ Revoked {found[0].prefix}…")
