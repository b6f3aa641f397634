"""Pages of the door: one's sessions and tokens, everybody's for administrators, first set-up."""

from __future__ import annotations

import uuid

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.access import auth, services
from apps.access.forms import SetupForm, TokenForm
from apps.access.models import ApiToken, UserSession
from apps.accounts.models import User
from apps.accounts.permissions import require
from apps.core import clock
from apps.core.errors import GovTrackError

ENDED_SHOWN = 20


def _signed_in(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


@login_required
@require_GET
def sessions(request: HttpRequest) -> HttpResponse:
    return _page(request, TokenForm())


def _page(request: HttpRequest, form: TokenForm, status: int = 200) -> HttpResponse:
    user = _signed_in(request)
    current = auth.of_request(request).session
    rows = UserSession.objects.filter(user=user)
    live = sorted(
        rows.filter(ended_at__isnull=True).order_by("-last_seen_at"),
        key=lambda row: current is None or row.pk != current.pk,
    )
    context = {
        "nav": "sessions",
        "live": live,
        "current": current,
        "ended": rows.filter(ended_at__isnull=False).order_by("-ended_at")[:ENDED_SHOWN],
        "tokens": ApiToken.objects.filter(user=user).order_by("-created_at"),
        "demands": user.reauth_demands.filter(lifted_at__isnull=True).order_by("-since")[:3],
        "form": form,
        "now": clock.now(),
        "may_manage": services.may_manage(user),
    }
    return render(request, "access/sessions.html", context, status=status)


@login_required
@require_POST
def end_session(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    user = _signed_in(request)
    row = get_object_or_404(UserSession.objects.select_related("user"), pk=pk)
    if row.user_id != user.pk and not services.may_manage(user):
        raise Http404
    reason = request.POST.get("reason") or f"Logged out by {user.name}."
    services.end_session(actor=user, session=row, reason=reason)
    messages.success(request, f"Logged out on {row.device or 'that device'}: at its next request.")
    return redirect("access:sessions" if row.user_id == user.pk else "access:admin_sessions")


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
def admin_sessions(request: HttpRequest) -> HttpResponse:
    require(_signed_in(request), "access.manage_others")
    query = request.GET.get("q", "").strip().replace("\x00", "")
    rows = UserSession.objects.filter(ended_at__isnull=True).select_related("user")
    if query:
        rows = rows.filter(user__display_name__icontains=query) | rows.filter(
            user__email__icontains=query
        )
    context = {
        "nav": "sessions",
        "rows": rows.order_by("-last_seen_at")[:200],
        "count": rows.count(),
        "q": query,
    }
    return render(request, "access/admin_sessions.html", context)


@login_required
@require_POST
@never_cache
def token_new(request: HttpRequest) -> HttpResponse:
    user = _signed_in(request)
    form = TokenForm(request.POST)
    if form.is_valid():
        try:
            token, secret = services.create_token(
                actor=user,
                user=user,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_at=form.expires_at(),
            )
        except GovTrackError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        else:
            return render(request, "access/token.html", {"token": token, "secret": secret})
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
