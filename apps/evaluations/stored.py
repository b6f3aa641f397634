"""From stored documents back to the suite that they came from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from uuid import UUID

from apps.evaluations import payloads
from apps.evaluations.models import Payload, SuiteCase, SuiteRevision
from apps.evaluations.suitefile import Case, Suite, case_of_document, suite_of_document


def document_of(suite: Suite) -> dict[str, Any]:
    """The canonical suite without its cases: what a revision stores."""
    return suite.frame()


def case_of(row: SuiteCase) -> Case:
    return case_of_document(row.document)


def suite_of(revision: SuiteRevision) -> Suite:
    """The whole suite, for export and for comparing revisions."""
    documents = revision.cases.order_by("position").values_list("document", flat=True)
    cases = documents.iterator(chunk_size=1000)
    return suite_of_document({**revision.document, "cases": cases})


@lru_cache(maxsize=64)
def frame_of(revision_id: UUID) -> Suite:
    """The suite without its cases: prompt, scorers and metrics, for rendering and scoring."""
    # Cached by id: a revision never changes.
    document = SuiteRevision.objects.values_list("document", flat=True).get(pk=revision_id)
    return suite_of_document({**document, "cases": []})


@lru_cache(maxsize=8)
def image(sha256: str) -> bytes:
    """An image's bytes by its hash. Raises Payload.DoesNotExist."""
    return payloads.get(bytes.fromhex(sha256))


def images_of(suite: Suite) -> dict[str, bytes]:
    """The stored bytes of a suite's images."""
    return {each.sha256: image(each.sha256) for each in suite.images}


def missing_images(suite: Suite) -> list[str]:
    """Hashes that neither came with the suite nor are stored."""
    wanted = [i.sha256 for i in suite.images if i.sha256 not in suite.image_data]
    stored = Payload.objects.filter(pk__in=[bytes.fromhex(each) for each in wanted])
    known = {bytes(digest).hex() for digest in stored.values_list("pk", flat=True)}
    return [each for each in wanted if each not in known]
