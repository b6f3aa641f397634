"""A suite as a promptfoo configuration. What promptfoo cannot say is listed, not bent."""

from __future__ import annotations

import json
from typing import Any

import yaml

from apps.evaluations.imports import judged
from apps.evaluations.imports.base import Loss
from apps.evaluations.imports.exporting import Losses, plain_messages
from apps.evaluations.suitefile import Case, ScorerSpec, Suite, build_scorers, render_case

Assertion = dict[str, Any]


def write(suite: Suite) -> tuple[bytes, list[Loss]]:
    """Prompts are written out into the variable `messages`, so that none is rendered twice."""
    losses = Losses()
    scorers = build_scorers(suite)
    tests = []
    for case in suite.cases:
        messages, problem = plain_messages(render_case(suite, case))
        if problem:
            losses.add(problem, "they are left out of this export", case.id)
            continue
        rules = []
        for spec in suite.scorers:
            scorer = scorers[spec.key]
            if scorer.applies_to(case):
                rule = _assertion(spec, scorer.expectation(case))
                if rule is None:
                    losses.add(
                        f"scorer {spec.key} ({spec.type})", "promptfoo has no such assertion"
                    )
                else:
                    rules.append({**rule, "metric": spec.key})
        test: dict[str, Any] = {"description": case.id, "vars": {"messages": json.dumps(messages)}}
        if rules:
            test["assert"] = rules
        if case.tags:
            test["metadata"] = {"tags": list(case.tags)}
        tests.append(test)
    document = {
        "description": suite.name,
        "prompts": ["{{ messages | safe }}"],
        "providers": [],
        "tests": tests,
    }
    losses.add("margins, bounds and directions of metrics", "promptfoo counts passes")
    if suite.asking.canonical() or any(c.asking.canonical() for c in suite.cases):
        losses.add("tools and answer forms", "promptfoo keeps them with its providers")
    if any(_weighted(c) for c in suite.cases):
        losses.add("weights and notes of cases", "promptfoo's tests have none")
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return text.encode(), losses.all()


def _weighted(case: Case) -> bool:
    return case.weight != 1 or bool(case.note)


def _assertion(spec: ScorerSpec, expected: Any) -> Assertion | None:
    params = spec.params
    if spec.type == "exact" and isinstance(expected, str) and not params.get("casefold"):
        return {"type": "equals", "value": expected}
    if spec.type == "contains":
        prefix = "i" if params.get("casefold", True) else ""
        if params.get("words"):
            return None
        form = expected if isinstance(expected, dict) else {"all": expected}
        if len(form) != 1:
            return None
        ((kind, texts),) = form.items()
        texts = [texts] if isinstance(texts, str) else texts
        if kind == "none":
            return {"type": f"not-{prefix}contains-any", "value": texts}
        return {"type": f"{prefix}contains-{kind}", "value": texts}
    if spec.type == "regex" and not params:
        return {"type": "regex", "value": expected}
    if spec.type == "regex" and "group" not in params:
        return {"type": "regex", "value": params.get("pattern", expected)}
    if spec.type == "json_schema":
        kind = "is-json" if params.get("extract") == "whole" else "contains-json"
        return {"type": kind, "value": params.get("schema", expected)}
    if spec.type == "refusal":
        return {"type": "is-refusal"}
    if spec.type == "embedding":
        return {"type": "similar", "value": expected}
    if spec.type == "rubric" and params.get("mode", "pass") == "pass":
        return _judged(params["rubric"], expected)
    return None


def _judged(rubric: str, expected: Any) -> Assertion | None:
    if not isinstance(expected, str):
        return {"type": "llm-rubric", "value": rubric}
    if rubric == judged.FACTS:
        return {"type": "factuality", "value": expected}
    # Its own judge sees no reference beside the rubric.
    return {"type": "llm-rubric", "value": expected} if rubric == judged.DEMAND else None
