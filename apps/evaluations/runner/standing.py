"""Is the endpoint down, or does it fail at these prompts only?

Some servers answer HTTP 5xx, or nothing at all, to single prompts. While a run's last slots are of
that kind, nothing but errors comes, and the breaker opens as if the endpoint were down. So in a
run that has answers, a failure behind an open breaker is followed by a plain question of our own:
where that is answered, the endpoint stands, and the failure is the prompt's.
"""

from __future__ import annotations

from apps.evaluations import charging
from apps.evaluations.models import Run, Sample, SampleStatus, Spending
from apps.evaluations.runner import requests
from apps.evaluations.runner.client import EndpointClient, Outcome
from apps.evaluations.runner.problems import Problem
from apps.evaluations.suitefile import Case, Suite
from apps.evaluations.suitefile.types import Message
from apps.registry.models import ModelVersion

FRAME = Suite(
    "standing",
    *("Standing", "", "", "", ""),
    personal_data=False,
    scorers=(),
    metrics=(),
    cases=(),
    max_tokens=16,
)
QUESTION = Case(id="standing", messages=(Message("user", "Answer with the word yes."),))


def answered_before(run: Run) -> bool:
    """Did the endpoint ever answer a slot of this run?"""
    rows = Sample.objects.filter(month=run.month, run=run)
    return rows.exclude(status=SampleStatus.ERROR).exists()


async def ask(client: EndpointClient, version: ModelVersion) -> Outcome | None:
    """What the endpoint answers to the plain question; None where it does not."""
    request = requests.build(version, client.endpoint.api_style, FRAME, QUESTION)
    try:
        return await client.ask(request)
    except Problem:
        return None


def charge(version: ModelVersion, outcome: Outcome) -> None:
    charging.charge(version, [charging.used(outcome)], purpose=Spending.Purpose.CHECK)
