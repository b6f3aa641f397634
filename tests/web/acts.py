"""People at the pages: signed in, fresh or not, reading and sending forms."""

from __future__ import annotations

import datetime as dt
import re
from html import unescape
from typing import Any

from django.test import Client

from apps.access.models import UserSession
from apps.accounts.models import User
from apps.core import clock


class Person:
    """One browser. `ago`: how long ago its person proved who they are."""

    def __init__(self, user: User, *, ago: dt.timedelta = dt.timedelta(0)) -> None:
        self.user = user
        self.client = Client()
        self.client.force_login(user)
        self.client.get("/healthz")  # the session gets its row
        self.proves_it(ago)

    def proves_it(self, ago: dt.timedelta = dt.timedelta(0)) -> None:
        UserSession.objects.filter(user=self.user).update(authenticated_at=clock.now() - ago)

    def get(self, path: str, status: int = 200, **query: Any) -> str:
        response = self.client.get(path, query)
        assert response.status_code == status, words(response)[:400]
        return words(response)

    def post(self, path: str, status: int = 302, **data: Any) -> Any:
        response = self.client.post(path, data)
        assert response.status_code == status, words(response)[:600]
        return response


def words(response: Any) -> str:
    """What a reader sees: text without tags, blanks joined."""
    html = re.sub(r"<(script|style)[^>]*>.*?</\1>", " ", response.content.decode(), flags=re.S)
    text = unescape(re.sub(r"<[^>]+>", " ", html)).replace("\u00a0", " ")
    return re.sub(r" ([:.,;])", r"\1", re.sub(r"\s+", " ", text))


def first_line(response: Any) -> str:
    found = re.search(r"<h1>(.*?)</h1>", response.content.decode(), flags=re.S)
    assert found is not None
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", found.group(1)))).strip()
