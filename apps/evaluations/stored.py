"""From stored documents back to the suite that they came from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID

from apps.evaluations.models import SuiteCase, SuiteRevision
from apps.evaluations.suitefile import Case, Suite
from apps.evaluations.suitefile.loader import _case, _suite


def document_of(suite: Suite) -> dict[str, Any]:
    """The canonical suite without its cases: what a revision stores."""
    document = suite.canonical()
    document.pop("cases")
    return document


def case_of(row: SuiteCase) -> Case:
    return _case(row.document)


def suite_of(revision: SuiteRevision) -> Suite:
    """The whole suite, for export and for comparing revisions."""
    cases = [row.document for row in revision.cases.order_by("position")]
    return _suite({**revision.document, "cases": cases})


@lru_cache(maxsize=64)
def frame_of(revision_id: UUID) -> Suite:
    """The suite without its cases: prompt, scorers and metrics, for rendering and scoring."""
    # Cached by id: a revision never changes.
    document = SuiteRevision.objects.values_list("document", flat=True).get(pk=revision_id)
    return _suite({**document, "cases": []})
