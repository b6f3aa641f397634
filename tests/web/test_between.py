"""Any two moments of a version, side by side, with no claim beyond the two runs."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from apps.core import clock
from apps.evaluations.models import Run
from tests.drift.story import run_of, suite
from tests.web.acts import Person, first_line, words
from tests.world import World

pytestmark = pytest.mark.django_db


def ran(world: World, days: int, **fields: Any) -> Run:
    run = run_of(world.version, suite(), **fields)
    Run.objects.filter(pk=run.pk).update(finished_at=clock.now() - dt.timedelta(days=days))
    run.refresh_from_db()
    return run


def address(world: World) -> str:
    return f"/versions/{world.version.pk}/compare/"


def day(days: int) -> str:
    return f"{clock.now() - dt.timedelta(days=days):%Y-%m-%dT%H:%M}"


def test_two_moments_are_compared_by_the_runs_that_stand_for_them(world: World) -> None:
    old = ran(world, 20, seed=1)
    ran(world, 10, seed=2)
    new = ran(world, 1, seed=3, changed=True)
    response = Person(world.auditor).client.get(address(world), {"from": day(15), "to": day(0)})
    said = first_line(response)
    assert "“Accuracy”" in said
    assert "moved further than chance explains at one look." in said
    assert f"{old.finished_at:%H:%M}" in said
    text = words(response)
    assert "A look that you chose proves nothing by itself." in text
    assert "0 of 20 word for word the same" in text
    assert "the answer now is no JSON" in text
    assert f"{new.finished_at:%Y-%m-%d}" in text


def test_equal_answers_are_said_to_be_equal(world: World) -> None:
    for days in (9, 2):
        ran(world, days, texts=["the same"], value=1.0)
    said = first_line(Person(world.auditor).client.get(address(world)))
    assert said.endswith("UTC, every answer stayed word for word the same.")


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"from": "0001-01-01T00:00"},
        {"to": "9999-12-31T23:59", "suite": "nonsense"},
        {"suite": "\x00", "from": "2026-02-31T00:00"},
    ],
)
def test_nonsense_in_the_address_is_no_error(world: World, query: dict[str, str]) -> None:
    ran(world, 3, seed=1)
    ran(world, 1, seed=2)
    Person(world.auditor).get(address(world), **query)


def test_one_run_is_not_compared_with_itself(world: World) -> None:
    assert "has answered no suite completely yet" in first_line(
        Person(world.auditor).client.get(address(world))
    )
    ran(world, 3, seed=1)
    assert "Both moments lie at the same run" in first_line(
        Person(world.auditor).client.get(address(world))
    )
    Person(world.outsider).get(address(world), status=404)
