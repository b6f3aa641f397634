"""Pages of the door: one's sessions and tokens, everybody's for administrators, first set-up."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.access import auth, selectors, services
from apps.access.forms import SetupForm, TokenForm
from apps.access.models import ApiToken, UserSession
from apps.accounts.models import User
from apps.accounts.permissions import require
from apps.core.errors import GovTrackError, ReauthenticationRequired

ENDED_SHOWN = 20
ON_A_PAGE = 50


def _signed_in(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


@login_required
@require_GET
@never_cache
def sessions(request: HttpRequest) -> HttpResponse:
    return _page(request, TokenForm())


def _page(request: HttpRequest, form: TokenForm, status: int = 200) -> HttpResponse:
    user = _signed_in(request)
    current = auth.of_request(request).session
    live = sorted(
        selectors.live_sessions(user),
        key=lambda row: current is None or row.pk != current.pk,
    )
    context = {
        "nav": "sessions",
        "live": live,
        "current": current,
        "ended": selectors.ended_sessions(user)[:ENDED_SHOWN],
        "tokens": selectors.usable_tokens(user),
        "spent": selectors.spent_tokens(user)[:ENDED_SHOWN],
        "demand": selectors.standing_demand(user, current.authenticated_at if current else None),
        "form": form,
        "may_manage": services.may_manage(user),
    }
    return render(request, "access/sessions.html", context, status=status)


@login_required
@require_POST
def end_session(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    user = _signed_in(request)
    row = get_object_or_404(UserSession.objects.select_related("user"), pk=pk)
    own = row.user_id == user.pk
    if not own and not services.may_manage(user):
        raise Http404
    default = "Logged out from another device." if own else f"Logged out by {user.name}."
    reason = request.POST.get("reason", "").strip() or default
    services.end_session(actor=user, session=row, reason=reason)
    who = "" if own else f"{row.user.name} on "
    messages.success(request, f"Logged out {who}{row.device}. It takes effect at its next request.")
    return redirect("access:sessions" if own else "access:admin_sessions")


@login_required
@require_POST
def end_others(request: HttpRequest) -> HttpResponse:
    count = services.end_other_sessions(
        auth=auth.of_request(request), reason="Logged out from another device."
    )
    noun = "session" if count == 1 else "sessions"
    messages.success(request, f"Logged out {count} other {noun}.")
    return redirect("access:sessions")


@login_required
@require_GET
@never_cache
def admin_sessions(request: HttpRequest) -> HttpResponse:
    require(_signed_in(request), "access.manage_others")
    query = request.GET.get("q", "")[:200]
    rows = selectors.found(selectors.live_sessions(), query)
    page = Paginator(rows, ON_A_PAGE).get_page(request.GET.get("page"))
    people = set(rows.order_by().values_list("user_id", flat=True).distinct()[:2]) if query else ()
    context = {
        "nav": "sessions",
        "page": page,
        "current": auth.of_request(request).session,
        # Everything that was searched for belongs to one person: offer to end it all.
        "person": User.objects.get(pk=next(iter(people))) if len(people) == 1 else None,
        "q": query,
        "previous": _at(query, page.previous_page_number()) if page.has_previous() else "",
        "next": _at(query, page.next_page_number()) if page.has_next() else "",
    }
    return render(request, "access/admin_sessions.html", context)


def _at(query: str, number: int) -> str:
    return "?" + urlencode({"q": query, "page": str(number)})


@login_required
@require_POST
def end_all(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """Log a person out everywhere. Their tokens stay: those are revoked by name."""
    user = _signed_in(request)
    require(user, "access.manage_others")
    person = get_object_or_404(User, pk=pk)
    reason = request.POST.get("reason", "").strip() or f"Logged out everywhere by {user.name}."
    count = services.end_all_sessions(actor=user, user=person, reason=reason)
    noun = "session" if count == 1 else "sessions"
    messages.success(request, f"Logged {person.name} out of {count} {noun}.")
    return redirect("access:admin_sessions")


@login_required
@require_http_methods(["GET", "POST"])
@never_cache
def token_new(request: HttpRequest) -> HttpResponse:
    if request.method == "GET":
        return redirect(reverse("access:sessions") + "#new-token")
    user = _signed_in(request)
    form = TokenForm(request.POST)
    if form.is_valid():
        try:
            token, secret = services.create_token(
                actor=user,
                user=user,
                auth=auth.of_request(request),
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_at=form.expires_at(),
            )
        except ReauthenticationRequired:
            raise
        except GovTrackError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        else:
            context = {"nav": "sessions", "token": token, "secret": secret}
            return render(request, "access/token.html", context)
    return _page(request, form, status=400)


@login_required
@require_POST
def token_revoke(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    user = _signed_in(request)
    token = get_object_or_404(ApiToken.objects.select_related("user"), pk=pk)
    if token.user_id != user.pk and not services.may_manage(user):
        raise Http404
    services.revoke_token(actor=user, token=token, reason=request.POST.get("reason", ""))
    messages.success(request, f"Revoked {token.name}: refused from now on.")
    return redirect("access:sessions")


@require_http_methods(["GET", "POST"])
@never_cache
@sensitive_post_parameters("password", "password_again")
def setup(request: HttpRequest, secret: str) -> HttpResponse:
    services.open_setup_link(secret)
    form = SetupForm(request.POST or None)
    if form.is_valid():
        data = form.cleaned_data
        try:
            services.use_setup_link(
                secret=secret,
                email=data["email"],
                display_name=data["display_name"],
                password=data["password"],
            )
        except GovTrackError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        else:
            messages.success(request, "You are the administrator. Sign in to go on.")
            return redirect(reverse("account_login"))
    status = 400 if request.method == "POST" else 200
    return render(request, "access/setup.html", {"form": form}, status=status)
