"""An endpoint's credential: by reference (env:, file:), or encrypted at rest (plain:).

A reference is read when a call is made and never stored. It must not become a way to send this
product's own secrets to somebody's endpoint: names and files that hold those are refused, both
when the reference is set and when it is read. Nothing here puts a secret into an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from apps.core.errors import Conflict, InvalidInput
from apps.registry.models import Endpoint

FIELD = "credential"
MOST = 8_000
ENV_NAME = re.compile(r"[A-Z][A-Z0-9_]{2,}")
# This product's own, the process's own, and the usual homes of database and mail passwords.
OWN_NAMES = frozenset({"SECRET_KEY", "PATH", "HOME", "USER", "SHELL", "PWD", "HOSTNAME", "LANG"})
OWN_PREFIXES = (
    "GOVTRACK_",
    "DJANGO_",
    "SECRET_KEY",
    "DATABASE_",
    "REDIS_",
    "VALKEY_",
    "CELERY_",
    "BROKER_",
    "POSTGRES",
    "PG",
    "EMAIL_",
    "SMTP_",
    "PYTHON",
    "LD_",
)
OWN_SUFFIXES = ("_URL", "_DSN", "_FILE")


def split(credential: object) -> tuple[str, bytes | None]:
    """What to store for an input: (reference, ciphertext). Raises InvalidInput.

    "" is no credential; "env:NAME", "file:/path" are references; "plain:SECRET" is encrypted.
    """
    if not isinstance(credential, str):
        raise _bad("The credential must be text.")
    if not credential:
        return "", None
    kind, _, rest = credential.partition(":")
    if kind == "env":
        _check_env(rest)
        return credential, None
    if kind == "file":
        if not rest.isprintable() or len(credential) > 300:
            raise _bad("The path of the credential file cannot be used.")
        _check_file(Path(rest))
        return credential, None
    if kind == "plain":
        return "", _fernet().encrypt(_check_secret(rest).encode())
    # The input may be a bare secret: do not repeat any of it.
    raise _bad("The credential has no known form.")


def resolve(endpoint: Endpoint) -> str:
    """The secret, for the HTTP client only; "" where the endpoint needs none.

    Raises InvalidInput or Conflict, which name the endpoint and the remedy, never the secret.
    """
    if endpoint.credential_ciphertext:
        try:
            return _fernet().decrypt(bytes(endpoint.credential_ciphertext)).decode()
        except InvalidToken:
            raise Conflict(
                f"The stored credential of {endpoint.name} cannot be decrypted with this key.",
                field=FIELD,
                remedy="Put the key that it was stored with back into GOVTRACK_ENCRYPTION_KEY "
                "(keys are comma-separated, newest first), or enter the credential again.",
            ) from None
    kind, _, rest = endpoint.credential_ref.partition(":")
    if kind == "env":
        _check_env(rest)
        value = os.environ.get(rest, "")
        if not value.strip():
            raise Conflict(
                f"The environment variable {rest}, to which {endpoint.name} refers, is not set.",
                field=FIELD,
                remedy="Set it for the worker processes and restart them.",
            )
        return _check_secret(value.strip())
    if kind == "file":
        return _read(_check_file(Path(rest)), endpoint)
    return ""


def kind_of(endpoint: Endpoint) -> str:
    """How the credential is kept, fit to be shown: "none", "encrypted", or the reference."""
    if endpoint.credential_ciphertext:
        return "encrypted"
    return endpoint.credential_ref or "none"


def _check_env(name: str) -> None:
    if not ENV_NAME.fullmatch(name) or len(name) > 200:
        raise _bad("The name of the environment variable cannot be used (three capitals or more).")
    own = name in OWN_NAMES or name.startswith(OWN_PREFIXES) or name.endswith(OWN_SUFFIXES)
    if own:
        raise InvalidInput(
            f"The environment variable {name} may hold a secret of this installation and must "
            "not be sent to an endpoint.",
            field=FIELD,
            remedy="Keep the endpoint's key in a variable of its own, e.g. ACME_API_KEY.",
        )


def _check_file(path: Path) -> Path:
    """The real path, below the allowed directory and none of this product's own secrets."""
    allowed = Path(os.environ.get("GOVTRACK_CREDENTIALS_DIR", "/run/secrets/endpoints"))
    try:
        real, root = path.resolve(), allowed.resolve()
    except (OSError, RuntimeError, ValueError):
        raise _bad("The path of the credential file cannot be used.") from None
    inside = path.is_absolute() and real != root and real.is_relative_to(root)
    if not inside:
        raise InvalidInput(
            "The credential file is outside the directory for credentials.",
            field=FIELD,
            remedy=f"Put the file below {allowed}, or have the operator set "
            "GOVTRACK_CREDENTIALS_DIR.",
        )
    if real in set(_own_files()):
        raise InvalidInput(
            "This file holds a secret of this installation and must not be sent to an endpoint.",
            field=FIELD,
            remedy="Keep the endpoint's key in a file of its own.",
        )
    return real


def _own_files() -> Iterator[Path]:
    """Files that settings read secrets from (SECRET_KEY_FILE, DATABASE_URL_FILE, …)."""
    for name, value in os.environ.items():
        stem = name.removesuffix("_FILE")
        if stem != name and value and (stem.startswith(OWN_PREFIXES) or stem.endswith("_URL")):
            yield Path(value).resolve()


def _read(path: Path, endpoint: Endpoint) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST + 1)
        secret = content.decode().strip()
    except (OSError, UnicodeDecodeError):
        secret = ""
    if not secret:
        raise Conflict(
            f"The credential file of {endpoint.name} is missing, empty or not readable text.",
            field=FIELD,
            remedy="Make it readable for the worker processes.",
        )
    return _check_secret(secret)


def _check_secret(secret: str) -> str:
    """A header value: printable ASCII without white space around it."""
    if not secret or secret != secret.strip() or len(secret) > MOST:
        raise InvalidInput(
            "The credential is empty, too long, or has white space around it.",
            field=FIELD,
            remedy="Enter the key exactly as the provider shows it.",
        )
    if not (secret.isascii() and secret.isprintable()):
        raise InvalidInput(
            "The credential holds characters that no HTTP header can carry.",
            field=FIELD,
            remedy="Enter the key exactly as the provider shows it.",
        )
    return secret


def _fernet() -> MultiFernet:
    keys = [k.strip() for k in settings.GOVTRACK_ENCRYPTION_KEY.split(",") if k.strip()]
    make = (
        "Make one with `python -c 'from cryptography.fernet import Fernet; "
        "print(Fernet.generate_key().decode())'` and set GOVTRACK_ENCRYPTION_KEY."
    )
    if not keys:
        raise InvalidInput(
            "Credentials cannot be stored: this installation has no encryption key.",
            field=FIELD,
            remedy=f"{make} Or refer to the credential: env:NAME or file:/path.",
        )
    try:
        return MultiFernet([Fernet(k) for k in keys])
    except ValueError:
        raise InvalidInput(
            "GOVTRACK_ENCRYPTION_KEY does not hold valid keys.", field=FIELD, remedy=make
        ) from None


def _bad(message: str) -> InvalidInput:
    return InvalidInput(
        message,
        field=FIELD,
        remedy="Use env:NAME (capitals, digits, underscores), file:/path, or plain:SECRET to have "
        "it encrypted; leave it empty where the endpoint needs none.",
    )
