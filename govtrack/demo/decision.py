"""People at their browsers, for the headless demo: real requests to the real pages, real forms."""

from __future__ import annotations

import re
from html import unescape

import httpx

from apps.tickets.models import Ticket
from govtrack.demo.world import World


class Browser:
    """One person's session: cookies, CSRF tokens from the forms, redirects followed."""

    def __init__(self, web: str, world: World, person: str) -> None:
        self.user, self.password = world.people[person], world.passwords[person]
        self.http = httpx.Client(
            base_url=web,
            follow_redirects=True,
            timeout=30,
            trust_env=False,
            headers={"Referer": web},
        )

    def sign_in(self) -> None:
        page = self.post("/account/login/", login=self.user.email, password=self.password)
        if "/account/login" in page.url.path:
            raise RuntimeError(f"{self.user.name} could not sign in: {_words(page)[:400]}")

    def reauthenticate(self) -> None:
        page = self.post("/account/reauthenticate/", password=self.password)
        if "/reauthenticate" in page.url.path:
            raise RuntimeError(f"{self.user.name} could not sign in afresh: {_words(page)[:400]}")

    def is_asked_to_sign_in(self, ticket: Ticket) -> bool:
        """A session from before the change proposes: it must be sent to sign in afresh."""
        page = self._propose(ticket)
        return "/reauthenticate" in page.url.path

    def propose_suspension(self, ticket: Ticket) -> None:
        page = self._propose(ticket)
        if not ticket.decisions.filter(state="proposed").exists():
            raise RuntimeError(f"The proposal was not taken: {_words(page)[:600]}")

    def _propose(self, ticket: Ticket) -> httpx.Response:
        return self.post(
            f"/tickets/{ticket.number}/propose/",
            form_at=f"/tickets/{ticket.number}/",
            outcome="suspend",
            rationale="The answers no longer match what was approved; stop until reassessed.",
        )

    def can_confirm(self, ticket: Ticket) -> bool:
        proposal = ticket.decisions.get(state="proposed")
        self._answer(ticket)
        proposal.refresh_from_db()
        return str(proposal.state) == "confirmed"

    def confirm(self, ticket: Ticket) -> None:
        page = self._answer(ticket)
        if not ticket.decisions.filter(state="confirmed").exists():
            raise RuntimeError(f"The confirmation was not taken: {_words(page)[:600]}")

    def _answer(self, ticket: Ticket) -> httpx.Response:
        return self.post(
            f"/tickets/{ticket.number}/confirm/",
            form_at=f"/tickets/{ticket.number}/",
            reason="Seen the pairs of answers.",
        )

    def history(self) -> str:
        pages = [self.http.get(f"/history/?page={n}") for n in (1, 2, 3)]
        return " ".join(_words(p) for p in pages if p.status_code == 200)

    def post(self, path: str, *, form_at: str = "", **data: str) -> httpx.Response:
        """Fetch the form, then send it with its CSRF token and hidden row version."""
        form = self.http.get(form_at or path)
        hidden = dict(_hidden(form.text))
        sent = {k: v for k, v in hidden.items() if k in ("csrfmiddlewaretoken", "row_version")}
        sent.setdefault("csrfmiddlewaretoken", self.http.cookies.get("csrftoken") or "")
        return self.http.post(path, data={**sent, **data})


def _hidden(html: str) -> list[tuple[str, str]]:
    found = []
    for tag in re.findall(r"<input[^>]*type=[\"']hidden[\"'][^>]*>", html):
        name = re.search(r"name=[\"']([^\"']+)", tag)
        value = re.search(r"value=[\"']([^\"']*)", tag)
        if name:
            found.append((name.group(1), unescape(value.group(1)) if value else ""))
    return found


def _words(page: httpx.Response) -> str:
    text = re.sub(r"<(script|style)[^>]*>.*?</\1>", " ", page.text, flags=re.S)
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text)))
