"""Revisions: saved with a reason, told apart in words, and compared where they ask alike."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from apps.accounts.models import Role
from apps.audit.models import AuditEvent
from apps.core.errors import Conflict, InvalidInput, NotAllowed
from apps.evaluations import budgets, selectors, stored, suites, trying
from apps.evaluations.models import Run, Sample, SuiteRevision
from apps.evaluations.revisions import difference
from apps.evaluations.suitefile import SuiteError
from tests.evaluations.suitefile.samples import DOCUMENT, document, parse
from tests.fixtures.evaluations import make_owner, make_user, make_version
from tests.fixtures.provider import Provider

pytestmark = pytest.mark.django_db
METRIC = DOCUMENT["metrics"][0]


def first(**changed: Any) -> SuiteRevision:
    return suites.import_suite(actor=make_owner(), suite=parse(document(**changed)))[0]


def revise(revision: SuiteRevision, **fields: Any) -> SuiteRevision:
    given = {"actor": make_owner(), "reason": "The desk was renamed.", **fields}
    return suites.revise(revision=revision, **given)[0]


def test_a_changed_case_is_the_next_revision_with_its_reason() -> None:
    old = first()
    new = revise(old, set_cases=[{**DOCUMENT["cases"][0], "expect": "health"}])
    assert (new.number, new.reason) == (2, "The desk was renamed.")
    assert [c.id for c in stored.suite_of(new).cases] == ["c-1", "c-2"]
    diff = difference(old, new)
    assert diff.sentence() == "1 case changed"
    assert diff.cases.changed[0].changes == [
        {"path": "expect", "before": "motor", "after": "health", "kind": "changed"}
    ]
    entry = AuditEvent.objects.filter(action="evaluations.suite_imported").latest("occurred_at")
    assert "The desk was renamed." in entry.summary


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"set_cases": [{"id": "c-3", "vars": {"claim": "x"}, "expect": "motor"}]}, "1 case added"),
        ({"remove_cases": ["c-2"]}, "1 case removed"),
        ({"changes": {"metrics": [{**METRIC, "margin": 0.1}]}}, "1 metric margin changed"),
        (
            {"changes": {"scorers": [{**DOCUMENT["scorers"][0], "casefold": False}]}},
            "1 scorer casefold changed",
        ),
        ({"changes": {"prompt": "{{claim}}"}}, "the prompt changed"),
        ({"changes": {"defaults": {"max_tokens": 9, "stop": ["\n"]}}}, "max tokens changed"),
        (
            {"changes": {"license": "CC0-1.0", "personal_data": True}},
            "license, personal data changed",
        ),
    ],
)
def test_what_changed_is_said_in_words(change: dict[str, Any], sentence: str) -> None:
    old = first()
    assert difference(old, revise(old, **change)).sentence() == sentence


def test_several_thresholds_are_counted() -> None:
    two = [METRIC, {**METRIC, "key": "other"}]
    old = first(metrics=two)
    new = revise(old, changes={"metrics": [{**m, "margin": 0.1} for m in two]})
    assert difference(old, new).sentence() == "2 metric margins changed"


def test_a_revision_needs_a_reason_a_right_and_the_newest_before_it() -> None:
    old = first()
    case = {**DOCUMENT["cases"][0], "expect": "health"}
    with pytest.raises(InvalidInput, match="Say why"):
        revise(old, set_cases=[case], reason=" ")
    with pytest.raises(NotAllowed):
        revise(old, set_cases=[case], actor=make_user(Role.AUDITOR))
    revise(old, set_cases=[case])
    with pytest.raises(Conflict, match="saved revision 2 meanwhile"):
        revise(old, remove_cases=["c-2"])
    assert SuiteRevision.objects.count() == 2


def test_going_back_to_stored_content_names_the_revision_that_has_it() -> None:
    old = first()
    new = revise(old, set_cases=[{**DOCUMENT["cases"][0], "expect": "health"}])
    with pytest.raises(Conflict, match="exactly revision 1"):
        revise(new, set_cases=[DOCUMENT["cases"][0]])


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"remove_cases": ["nobody"]}, InvalidInput, "no case 'nobody'"),
        ({"remove_cases": ["c-1", "c-2"]}, SuiteError, "no cases"),
        ({"changes": {"slug": "other"}}, InvalidInput, "'slug' cannot be changed"),
        ({"set_cases": [{"id": "c-3", "expect": "motor"}]}, SuiteError, "gives it no value"),
        ({"set_cases": [{**DOCUMENT["cases"][0], "expect": "boats"}]}, SuiteError, "labels"),
    ],
)
def test_what_breaks_the_suites_rules_is_refused_whole(
    change: dict[str, Any], error: type[Exception], said: str
) -> None:
    old = first()
    with pytest.raises(error, match=said):
        revise(old, **change)
    assert SuiteRevision.objects.count() == 1


def test_only_cases_that_both_revisions_ask_alike_are_compared() -> None:
    old = first()
    new = revise(old, set_cases=[{**DOCUMENT["cases"][0], "expect": "health"}])
    same = selectors.same_cases(old, new)
    assert (same.case_ids, same.metric_keys) == (("c-2",), ("accuracy",))
    assert same.sentence().startswith("Only the 1 case that both revisions ask alike")


def test_a_changed_prompt_leaves_only_cases_with_their_own_messages() -> None:
    own = {"id": "c-3", "messages": [{"role": "user", "content": "Hail?"}], "expect": "motor"}
    old = first(cases=[*DOCUMENT["cases"], own])
    new = revise(old, changes={"prompt": "{{claim}}"})
    assert selectors.same_cases(old, new).case_ids == ("c-3",)
    third = revise(new, changes={"defaults": {"max_tokens": 99}})
    assert selectors.same_cases(new, third).case_ids == ()
    assert "Nothing can be compared" in selectors.same_cases(new, third).sentence()


def test_a_metric_that_is_measured_otherwise_is_not_compared() -> None:
    old = first()
    new = revise(old, changes={"scorers": [{**DOCUMENT["scorers"][0], "casefold": False}]})
    same = selectors.same_cases(old, new)
    assert (same.case_ids, same.other_metrics) == (("c-1", "c-2"), ("accuracy",))
    assert "Measured otherwise now, so left out: accuracy." in same.sentence()


# Trying a case


@pytest.fixture
def provider() -> Any:
    with Provider(answers={"hit my car": "motor"}) as server:
        yield server


def attempt(revision: SuiteRevision, version: Any, actor: Any = None) -> trying.Tried:
    suite = stored.suite_of(revision)
    return trying.try_case(
        actor=actor or make_owner(),
        model_version=version,
        revision=revision,
        suite=suite,
        case=suite.cases[0],
    )


def test_a_case_is_tried_by_a_real_call_and_nothing_is_stored(provider: Provider) -> None:
    tried = attempt(first(), make_version(provider.url))
    assert (tried.status, tried.problem) == ("answered", "")
    assert tried.scores["desk"].value in (0.0, 1.0)
    assert b"A deer hit my car." in tried.request
    assert not Sample.objects.exists()
    assert not Run.objects.exists()
    assert AuditEvent.objects.filter(action="evaluations.case_tried").count() == 1


def test_a_failing_endpoint_is_told_and_not_raised(provider: Provider) -> None:
    provider.fail("status", status=500)
    tried = attempt(first(), make_version(provider.url))
    assert tried.status == "error"
    assert "500" in tried.problem


def test_trying_needs_rights_a_budget_and_patience(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision, version = first(), make_version(provider.url)
    with pytest.raises(NotAllowed):
        attempt(revision, version, make_user(Role.AUDITOR))
    person = make_owner()
    monkeypatch.setattr(trying, "PER_HOUR", 1)
    attempt(revision, version, person)
    with pytest.raises(InvalidInput, match="within an hour"):
        attempt(revision, version, person)
    cache.delete(f"tried:{person.pk}")
    version.endpoint.active = False
    with pytest.raises(Conflict, match="switched off"):
        attempt(revision, version, person)
    version.endpoint.active = True
    monkeypatch.setattr(budgets.Limit, "reached", "The budget is used up.")
    budgets.set_budget(actor=make_user(Role.ADMINISTRATOR), model_version=version, max_tokens=1)
    with pytest.raises(Conflict, match="used up"):
        attempt(revision, version, person)
    assert sum(provider.stats()["calls"].values()) == 1
