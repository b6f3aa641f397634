"""Who saved first: entity tags from `row_version`, and what If-Match makes of them."""

from __future__ import annotations

import re
from typing import Any

from apps.core.errors import GovTrackError, InvalidInput, StaleVersion
from apps.core.models import VersionedModel

TAG = re.compile(r'\s*(?P<weak>W/)?"(?P<value>[^"]*)"\s*(?:,|$)')


class PreconditionRequired(GovTrackError):
    """Two people may edit this: say which version your change is made to."""

    status = 428
    code = "precondition_required"


def etag_of(obj: VersionedModel) -> str:
    return f'"{obj.pk}-{obj.row_version}"'


def headers_for(obj: Any) -> dict[str, str]:
    return {"ETag": etag_of(obj)} if isinstance(obj, VersionedModel) else {}


def expected_version(request: Any, obj: VersionedModel, *, required: bool = False) -> int | None:
    """The row version that the client's change is made to, from If-Match; None for "whatever
    is current" (no header, or `*`). The service checks it again in its UPDATE.

    Raises PreconditionRequired (no header although `required`), InvalidInput (not an entity
    tag), StaleVersion (none of the tags is of the current version).
    """
    header = request.headers.get("If-Match", "").strip()
    if not header:
        if required:
            raise PreconditionRequired(
                "This change needs an If-Match header, so that it cannot undo somebody else's.",
                field="If-Match",
                remedy="GET the object, then send its ETag as If-Match.",
            )
        return None
    if header == "*":
        return None
    tags = list(TAG.finditer(header))
    if "".join(t.group(0) for t in tags) != header:
        raise InvalidInput(
            "The If-Match header is not a list of entity tags.",
            field="If-Match",
            remedy='Send the ETag as it was given, with its quotes: "<id>-<number>".',
        )
    # If-Match compares strongly (RFC 9110 section 13.1.1): a weak tag never matches.
    if etag_of(obj) in {f'"{t["value"]}"' for t in tags if not t["weak"]}:
        return obj.row_version
    raise StaleVersion(
        "Somebody else changed this since you read it.",
        field="If-Match",
        remedy="GET it again, look at what changed, then send your change with the new ETag.",
    )
