"""A POST that is sent twice acts once.

The key's row and the write commit in one transaction: either both are there or neither. A second
request with the key while the first still runs is told to come back; afterwards it gets the
stored answer. Answers that failed are not stored, so that a mended request may use its key again.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from django.core.files.uploadedfile import UploadedFile
from django.db import connection, transaction
from django.http import QueryDict
from django.utils.crypto import salted_hmac
from rest_framework.response import Response

from apps.core import clock
from apps.core.errors import Conflict, GovTrackError, InvalidInput
from apps.core.models import IdempotencyKey

HEADER = "Idempotency-Key"
KEEP = dt.timedelta(hours=24)
GOOD_KEY = re.compile(r"^[\x21-\x7e]{1,200}$")
KEPT_HEADERS = ("Location", "ETag")
Handler = TypeVar("Handler", bound=Callable[..., Any])


class KeyReused(GovTrackError):
    status = 422
    code = "idempotency_key_reused"


class StillRunning(Conflict):
    """The first request with this key has not ended yet."""

    code = "idempotency_in_progress"
    retry_after = 1


def idempotent(*, redact: tuple[str, ...] = ()) -> Callable[[Handler], Handler]:
    """For a handler of POST. `redact` names fields of the answer that are never stored (a secret
    that is shown once): a replay says null there."""

    def wrap(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def inner(view: Any, request: Any, *args: Any, **kwargs: Any) -> Response:
            key = request.headers.get(HEADER)
            if key is None:
                return handler(view, request, *args, **kwargs)
            return _once(
                request, key, lambda: handler(view, request, *args, **kwargs), redact=redact
            )

        return cast(Handler, inner)

    return wrap


def _once(
    request: Any, key: str, act: Callable[[], Response], *, redact: tuple[str, ...]
) -> Response:
    if not GOOD_KEY.match(key):
        raise InvalidInput(
            "The Idempotency-Key must be 1 to 200 printable ASCII characters without spaces.",
            field=HEADER,
            remedy="Send a new UUID for every new act, and the same one when you repeat it.",
        )
    owner = str(request.user.pk)
    method_path = f"{request.method} {request.path}"[:300]
    request_hash = _hash(request)
    with transaction.atomic():
        _lock(owner, key)
        stored = IdempotencyKey.objects.filter(owner=owner, key=key).first()
        if stored and stored.created_at < clock.now() - KEEP:
            stored.delete()
            stored = None
        if stored:
            if (stored.method_path, stored.request_hash) != (method_path, request_hash):
                raise KeyReused(
                    "This Idempotency-Key was used for another request.",
                    field=HEADER,
                    remedy="Use a new key for a new act; repeat a request exactly to replay it.",
                )
            return _replay(stored)
        response = act()
        if response.status_code >= 400:
            transaction.set_rollback(True)
            return response
        IdempotencyKey.objects.create(
            owner=owner,
            key=key,
            method_path=method_path,
            request_hash=request_hash,
            status=response.status_code,
            response=_stored(response, redact),
        )
        IdempotencyKey.objects.filter(owner=owner, created_at__lt=clock.now() - KEEP).delete()
        return response


def _lock(owner: str, key: str) -> None:
    """Held to the end of the transaction. Not waited for: the client may come back."""
    digest = hashlib.sha256(f"{owner}\n{key}".encode()).digest()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(%s)",
            [int.from_bytes(digest[:8], "big", signed=True)],
        )
        row = cursor.fetchone()
    if not (row and row[0]):
        raise StillRunning(
            "The first request with this Idempotency-Key is still being worked on.",
            field=HEADER,
            remedy="Repeat the request in a second to get its answer.",
        )


def _hash(request: Any) -> str:
    """Keyed, since a body may hold a secret (an endpoint's credential)."""
    mac = salted_hmac("govtrack.idempotency", "", algorithm="sha256")
    # A stale answer must not be replayed to one who now asks for another version.
    mac.update(request.headers.get("If-Match", "").encode() + b"\n")
    data = request.data
    if isinstance(data, QueryDict):
        for name, values in sorted(data.lists()):
            for value in values:
                mac.update(f"\n{name}\n".encode())
                if isinstance(value, UploadedFile):
                    for chunk in value.chunks():
                        mac.update(chunk)
                    value.seek(0)
                else:
                    mac.update(str(value).encode())
    elif isinstance(data, bytes):
        mac.update(data)
    else:
        mac.update(json.dumps(data, sort_keys=True).encode())
    return mac.hexdigest()


def _stored(response: Response, redact: tuple[str, ...]) -> dict[str, Any]:
    body = response.data
    if body is not None:
        # Through the renderer, so that dates and ids are stored as they were sent.
        from rest_framework.renderers import JSONRenderer

        body = json.loads(JSONRenderer().render(body))
        for name in redact:
            body[name] = None
    headers = {name: response[name] for name in KEPT_HEADERS if response.has_header(name)}
    return {"body": body, "headers": headers}


def _replay(stored: IdempotencyKey) -> Response:
    kept = cast(dict[str, Any], stored.response)
    headers = {**kept["headers"], "Idempotent-Replayed": "true"}
    return Response(kept["body"], status=stored.status, headers=headers)
