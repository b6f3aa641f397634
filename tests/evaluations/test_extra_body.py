"""Parameters that only one endpoint knows are sent as it wants them."""

from __future__ import annotations

import pytest

from tests.evaluations.helpers import start, work
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.usefixtures("live_db")


def test_extra_body_is_part_of_the_request_not_a_field_of_it(provider: Provider) -> None:
    work(start(provider, cases=1, parameters={"top_k": 5, "extra_body": {"cache_prompt": False}}))

    asked = provider.stats()["last_body"]

    assert (asked["cache_prompt"], asked["top_k"]) == (False, 5)
    assert "extra_body" not in asked
