"""What may be used, what is used, and what tokens cost."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from apps.accounts.permissions import can, require, roles_of, visible
from apps.core.errors import GovTrackError
from apps.evaluations import budgets, pricefile, prices
from apps.evaluations.models import Budget, Price
from apps.registry import selectors
from apps.web import forms_policy
from apps.web.forms_money import BudgetForm, PriceForm
from apps.web.forms_policy import TopUpForm
from apps.web.inventory import attempt, capital, chosen, count, link, paged, person
from apps.web.runprogress import limit_row

EDIT = {
    "budget": "budget.edit",
    "prices": "price.edit",
    "withdraw": "price.edit",
    "top_ups": "policy.edit",
}


def _budgets(user: Any) -> QuerySet[Budget]:
    rows = Budget.objects.select_related("model_version", "provider")
    return visible(user, rows, team_path="model_version__team").order_by("-enabled", "created_at")


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def money(request: HttpRequest) -> HttpResponse:
    user = request.user
    posted = request.POST.get("form", "")
    scopes = {"versions": selectors.versions(user), "providers": selectors.providers(user)}
    budget_form = BudgetForm(request.POST if posted == "budget" else None, **scopes)
    price_form = PriceForm(
        request.POST if posted == "prices" else None,
        request.FILES if posted == "prices" else None,
    )
    top_up_form = TopUpForm(request.POST if posted == "top_ups" else None)
    if posted in EDIT:
        require(user, EDIT[posted])
        if posted == "top_ups":
            done = _allow(request, top_up_form)
        else:
            done = {"budget": _set, "prices": _import, "withdraw": _withdraw}[posted](
                request, budget_form, price_form
            )
        if done is not None:
            return done
    known = Price.objects.select_related("provider") if roles_of(user) else Price.objects.none()
    in_force_first = F("withdrawn_at").asc(nulls_first=True)
    known = known.order_by(in_force_first, "provider__name", "model_name", "-valid_from")
    page = paged(request, known)
    for price in page.rows:
        price.dialog = f"withdraw-{price.pk}"
        price.hidden = {"form": "withdraw", "price": price.pk}
        price.prompt = plain(price.prompt_per_million)
        price.answer = plain(price.completion_per_million)
        price.cached = plain(price.cached_per_million)
    rows = [{"row": row, "limit": limit_row(budgets.limit_of(row))} for row in _budgets(user)]
    return render(
        request,
        "web/money.html",
        {
            "nav": "runs",
            "lede": _sentence(rows),
            "budgets": rows,
            "page": page,
            "may_budget": can(user, "budget.edit"),
            "may_price": can(user, "price.edit"),
            "budget_form": budget_form,
            "price_form": price_form,
            "tiers": forms_policy.tiers(),
            "may_policy": can(user, "policy.edit"),
            "top_up_form": top_up_form,
            "posted": posted,
            "columns": ",".join((*pricefile.NEEDED, *pricefile.OPTIONAL)),
            "crumbs": [
                {"label": "Runs", "href": link("web:run_list")},
                {"label": "Prices and budgets"},
            ],
        },
        status=400 if budget_form.errors or price_form.errors or top_up_form.errors else 200,
    )


def plain(value: Decimal | None) -> str:
    """0.500000 → 0.5"""
    return "–" if value is None else f"{value.normalize():f}"


def _sentence(rows: list[dict[str, Any]]) -> str:
    live = [r for r in rows if r["row"].enabled]
    if not live:
        return "No budget is set: runs may use as much as they need."
    over = [r for r in live if r["limit"].reached]
    if over:
        used_up = capital(count(len(over), "budget"))
        return f"{used_up} {'is' if len(over) == 1 else 'are'} used up: no run starts under it."
    most = max(live, key=lambda r: r["limit"].share)
    name = str(most["limit"].name).removeprefix("The ")
    return f"No budget is used up; the {name} is at {most['limit'].share * 100:.0f} %."


def _set(request: HttpRequest, form: BudgetForm, _: PriceForm) -> HttpResponse | None:
    if not form.is_valid():
        return None
    made = attempt(form, lambda: budgets.set_budget(actor=person(request), **form.values()))
    if made is None:
        return None
    messages.success(request, f"{budgets.name_of(made)} is set.")
    return redirect("web:money")


def _import(request: HttpRequest, _: BudgetForm, form: PriceForm) -> HttpResponse | None:
    if not form.is_valid():
        return None

    def record() -> tuple[int, int]:
        rows = pricefile.parse(form.content())
        return prices.import_prices(actor=person(request), prices=rows)

    done = attempt(form, record, {"prices": "file"})
    if done is None:
        return None
    recorded, known = done
    said = f"{capital(count(recorded, 'price'))} recorded"
    messages.success(request, said + (f", {known} known already." if known else "."))
    return redirect("web:money")


def _allow(request: HttpRequest, form: TopUpForm) -> HttpResponse | None:
    if not form.is_valid():
        return None
    made = attempt(form, lambda: form.publish(person(request)), {"document": "runs"})
    if made is None:
        return None
    messages.success(request, f"Policy {made.number} is in force.")
    return redirect("web:money")


def _withdraw(request: HttpRequest, _: BudgetForm, __: PriceForm) -> HttpResponse:
    price = chosen(Price.objects.all(), request.POST.get("price"))
    if price is not None:
        reason = request.POST.get("reason", "").replace("\x00", "")
        try:
            prices.withdraw_price(actor=person(request), price=price, reason=reason)
        except GovTrackError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, "Withdrawn. Costs that are stored stay as they are.")
    return redirect("web:money")
