"""Errors that a person can act on. Pages, API and CLI each render the same three parts."""

from __future__ import annotations


class GovTrackError(Exception):
    """What happened and what to do about it.

    `field` names the input at fault ("" for none); `code` is stable for machines;
    `status` is the HTTP status that the API answers with (RFC 9457 problem details).
    """

    status = 400
    code = "invalid"

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        remedy: str = "",
        code: str = "",
        problems: list[dict[str, object]] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.remedy = remedy
        self.code = code or self.code
        self.problems = problems or []

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class InvalidInput(GovTrackError):
    pass


class NotAllowed(GovTrackError):
    status = 403
    code = "not_allowed"


class NotFound(GovTrackError):
    status = 404
    code = "not_found"


class Conflict(GovTrackError):
    """The thing is not in a state (or at a version) in which this can be done."""

    status = 409
    code = "conflict"


class StaleVersion(Conflict):
    """Somebody else saved first: the version number that was read is no longer current."""

    status = 412
    code = "stale"


class ReauthenticationRequired(NotAllowed):
    """The session is too old for this act: confirm the password (or passkey) and try again."""

    status = 403
    code = "reauthentication_required"
