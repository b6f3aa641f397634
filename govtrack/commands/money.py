"""`govtrack price` and `govtrack budget`: what tokens cost, and how much may be used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from govtrack import stack
from govtrack.commands.common import As, DataDir, acting, fail, out, product, version_named
from govtrack.commands.runs import money

if TYPE_CHECKING:
    from apps.registry.models import Provider

prices = typer.Typer(help="Prices of tokens: import, list.", no_args_is_help=True)
budgets = typer.Typer(help="Budgets in tokens and money: set, list.", no_args_is_help=True)


@prices.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A CSV or JSON file; - reads standard input.")],
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Record prices, all or none. Columns: provider, model_name, currency, prompt_per_million,
    completion_per_million, valid_from; optional: cached_per_million, valid_until, source."""
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        fail(f"{path}: {error.strerror}.")
    with product(data_dir):
        from apps.evaluations import pricefile
        from apps.evaluations.prices import import_prices

        recorded, known = import_prices(actor=acting(as_), prices=pricefile.parse(content))
        out.print(f"✓ {recorded} recorded, {known} known already.")


@prices.command("list")
def list_prices(data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """What is valid now, for a million tokens: prompt, completion, cached prompt."""
    with product(data_dir):
        from apps.evaluations.models import Price

        rows = Price.objects.filter(withdrawn_at__isnull=True).select_related("provider")
        for p in rows.order_by("provider__slug", "model_name", "-valid_from"):
            cached = p.cached_per_million
            cached_said = "" if cached is None else f" {cached.normalize():f}"
            until = f" until {p.valid_until:%Y-%m-%d}" if p.valid_until else ""
            out.print(
                f"{p.provider.slug:<20} {p.model_name:<30} {p.prompt_per_million.normalize():f} "
                f"{p.completion_per_million.normalize():f}{cached_said} {p.currency} "
                f"from {p.valid_from:%Y-%m-%d}{until}",
                soft_wrap=True,
            )
        if not rows:
            out.print("No price is recorded. `govtrack price import FILE`")


@budgets.command("set")
def set_(
    version: Annotated[str, typer.Option(help="Of this version (label or id).")] = "",
    provider: Annotated[str, typer.Option(help="Of this provider (slug).")] = "",
    period: Annotated[str, typer.Option(help="month, or total.")] = "month",
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    max_cost: Annotated[str, typer.Option(help="Such as '250 USD'.")] = "",
    enabled: Annotated[bool, typer.Option("--on/--off")] = True,
    as_: As = "",
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Set the budget of a version, a provider, or (neither) everything."""
    with product(data_dir):
        from apps.evaluations import budgets as verbs

        scope: dict[str, Any] = {
            "model_version": version_named(version) if version else None,
            "provider": _provider(provider) if provider else None,
        }
        row = verbs.set_budget(
            actor=acting(as_),
            period=period,
            max_tokens=max_tokens,
            enabled=enabled,
            **scope,
            **money(max_cost),
        )
        out.print(f"✓ {verbs.name_of(row)} is set.")


@budgets.command("list")
def list_budgets(data_dir: DataDir = stack.DEFAULT_DATA_DIR) -> None:
    """Every budget with what is used of it now."""
    with product(data_dir):
        from apps.evaluations import budgets as verbs
        from apps.evaluations.models import Budget

        rows = list(Budget.objects.select_related("model_version", "provider"))
        for row in rows:
            limit = verbs.limit_of(row)
            parts = []
            if limit.max_tokens is not None:
                parts.append(f"{limit.tokens:,} of {limit.max_tokens:,} tokens")
            if limit.max_cost is not None:
                parts.append(f"{limit.cost:.4f} of {limit.max_cost:.4f} {limit.currency}")
            off = "" if row.enabled else " (switched off)"
            out.print(f"{limit.name}{off}: {', '.join(parts)}", soft_wrap=True)
        if not rows:
            out.print("No budget is set. `govtrack budget set --max-tokens 1000000`")


def _provider(slug: str) -> Provider:
    from apps.registry.models import Provider

    found = Provider.objects.filter(slug=slug).first()
    if found is None:
        known = ", ".join(Provider.objects.order_by("slug").values_list("slug", flat=True)[:10])
        fail(f"provider: there is none called {slug}.", remedy=f"Known: {known or 'none yet'}.")
    return found
