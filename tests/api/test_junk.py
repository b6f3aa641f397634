"""Junk in every field of every write: a clear refusal (or success), never a fault of ours."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import transaction
from drf_spectacular.generators import SchemaGenerator

from tests.api.conftest import Api
from tests.api.story import Story

pytestmark = pytest.mark.django_db
JUNK: list[Any] = [
    None,
    10**30,
    "",
    "x" * 30_000,
    "0197f3a0-7c1e-7b7a-9f53-0d3a5a1c2b4d",
    "\u202egnp.exe\u0001",
    [None],
    {"a": {"b": [10**30, None, ""]}},
]


class _Undo(Exception):
    pass


def _fields(schema: dict[str, Any], operation: dict[str, Any]) -> list[str]:
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema", {})
    if ref := body.get("$ref"):
        body = schema["components"]["schemas"][ref.rsplit("/", 1)[1]]
    return list(body.get("properties", {}))


@pytest.mark.parametrize("who", ["lead", "admin"])
def test_junk_in_any_field_is_never_a_fault_of_ours(
    who: str, story: Story, request: pytest.FixtureRequest
) -> None:
    api: Api = request.getfixturevalue(who)
    schema: dict[str, Any] = SchemaGenerator().get_schema(  # type: ignore[no-untyped-call]
        request=None, public=True
    )
    ids = {
        "providers": story.world.provider.pk,
        "endpoints": story.world.endpoint.pk,
        "use-cases": story.world.use_case.pk,
        "approvals": story.approval.pk,
        "schedules": story.schedule.pk,
        "runs": story.after.pk,
        "tickets": story.ticket.pk,
        "control-actions": story.ticket.control_actions.get().pk,
        "users": story.world.outsider.pk,
    }
    sent = 0
    for template, methods in schema["paths"].items():
        kind = template.split("/")[3]
        if "{" in template and kind not in ids:
            continue
        path = re.sub(r"\{\w+\}", lambda _: str(ids[kind]), template)  # noqa: B023
        for method in set(methods) & {"post", "patch"}:
            fields = _fields(schema, methods[method])
            bodies: list[Any] = [*JUNK, *({name: j} for name in fields for j in JUNK)]
            # All of it wrong at once, and each after the other.
            bodies += [dict.fromkeys(fields, j) for j in JUNK]
            for body in bodies:
                try:
                    with transaction.atomic():
                        answer = getattr(api.client, method)(
                            path, body, format="json", headers={"If-Match": "*"}
                        )
                        raise _Undo
                except _Undo:
                    sent += 1
                assert answer.status_code < 500, (method, path, str(body)[:200])
                if answer.status_code >= 400:
                    assert answer["Content-Type"] == "application/problem+json"
                    assert answer.json()["detail"], (method, path, str(body)[:200])
    assert sent > 500
