"""Credentials reach the endpoint and nobody else; our own secrets reach no endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from apps.audit.models import AuditEvent
from apps.core.errors import Conflict, GovTrackError, InvalidInput
from apps.registry import credentials, services
from apps.registry.models import Endpoint
from tests.world import World

SECRET = "sk-northwind-0123456789"
OLD_KEY, NEW_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def key(settings: Any) -> None:
    settings.GOVTRACK_ENCRYPTION_KEY = OLD_KEY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GOVTRACK_CREDENTIALS_DIR", str(tmp_path))
    return tmp_path


def endpoint_with(world: World, credential: str, name: str = "keyed") -> Endpoint:
    return services.create_endpoint(
        actor=world.admin,
        provider=world.provider,
        name=name,
        base_url="http://127.0.0.1:9/v1",
        allow_private_address=True,
        credential=credential,
    )


def everything_written() -> str:
    return " ".join(f"{e.summary} {e.body}" for e in AuditEvent.objects.all())


def test_no_credential_is_needed(world: World) -> None:
    assert credentials.resolve(world.endpoint) == ""
    assert credentials.kind_of(world.endpoint) == "none"


def test_a_plain_secret_is_stored_encrypted_and_told_to_nobody(world: World) -> None:
    endpoint = endpoint_with(world, f"plain:{SECRET}")
    endpoint.refresh_from_db()
    assert credentials.resolve(endpoint) == SECRET
    assert endpoint.credential_ref == ""
    assert SECRET.encode() not in bytes(endpoint.credential_ciphertext or b"")
    assert SECRET not in repr(endpoint) + str(endpoint) + credentials.kind_of(endpoint)
    assert SECRET not in everything_written()
    assert '"credential":"set"' in everything_written()


def test_a_change_is_recorded_without_the_secret(world: World) -> None:
    endpoint = endpoint_with(world, f"plain:{SECRET}")
    services.update_endpoint(actor=world.admin, endpoint=endpoint, credential="plain:sk-another")
    endpoint.refresh_from_db()
    assert credentials.resolve(endpoint) == "sk-another"
    written = everything_written()
    assert '"credential":"changed"' in written
    assert "sk-another" not in written
    assert "ciphertext" not in written


def test_an_empty_credential_removes_the_stored_one(world: World) -> None:
    endpoint = endpoint_with(world, f"plain:{SECRET}")
    services.update_endpoint(actor=world.admin, endpoint=endpoint, credential="")
    endpoint.refresh_from_db()
    assert endpoint.credential_ciphertext is None
    assert credentials.resolve(endpoint) == ""


def test_an_older_key_still_decrypts_while_a_newer_encrypts(world: World, settings: Any) -> None:
    endpoint = endpoint_with(world, f"plain:{SECRET}")
    settings.GOVTRACK_ENCRYPTION_KEY = f"{NEW_KEY}, {OLD_KEY}"
    assert credentials.resolve(endpoint) == SECRET
    newer = endpoint_with(world, f"plain:{SECRET}", name="newer")
    settings.GOVTRACK_ENCRYPTION_KEY = NEW_KEY
    assert credentials.resolve(newer) == SECRET
    with pytest.raises(Conflict, match="cannot be decrypted") as caught:
        credentials.resolve(endpoint)
    assert "GOVTRACK_ENCRYPTION_KEY" in caught.value.remedy


@pytest.mark.parametrize(("value", "says"), [("", "no encryption key"), ("abc", "valid keys")])
def test_without_a_key_nothing_is_stored_and_the_remedy_is_said(
    world: World, settings: Any, value: str, says: str
) -> None:
    settings.GOVTRACK_ENCRYPTION_KEY = value
    with pytest.raises(InvalidInput, match=says) as caught:
        endpoint_with(world, f"plain:{SECRET}")
    assert "Fernet.generate_key" in caught.value.remedy
    assert SECRET not in str(caught.value)
    assert not Endpoint.objects.filter(name="keyed").exists()


def test_an_environment_variable_is_read_when_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = endpoint_with(world, "env:ACME_API_KEY")
    with pytest.raises(Conflict, match="ACME_API_KEY, to which keyed refers, is not set"):
        credentials.resolve(endpoint)
    monkeypatch.setenv("ACME_API_KEY", f"{SECRET}\n")
    assert credentials.resolve(endpoint) == SECRET


@pytest.mark.parametrize(
    "name",
    [
        "SECRET_KEY",
        "SECRET_KEY_FALLBACKS",
        "DATABASE_URL",
        "OTHER_DATABASE_URL",
        "REDIS_URL",
        "CELERY_BROKER_URL",
        "GOVTRACK_ENCRYPTION_KEY",
        "GOVTRACK_METRICS_TOKEN",
        "PGPASSWORD",
        "POSTGRES_PASSWORD",
        "EMAIL_HOST_PASSWORD",
        "SENTRY_DSN",
        "API_KEY_FILE",
        "PATH",
        "HOME",
        "LD_PRELOAD",
        "DJANGO_SETTINGS_MODULE",
        "lower_case",
        "AB",
        "A-B-C",
        "ACME_API_KEY\n",
        "ACME API KEY",
        "",
        "9LIVES",
    ],
)
def test_our_own_secrets_cannot_be_referred_to(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name.strip():
        monkeypatch.setenv(name, "our-own-secret")
    with pytest.raises(InvalidInput) as caught:
        endpoint_with(world, f"env:{name}")
    assert caught.value.field == "credential"
    # A row that somebody wrote past the services is not resolved either.
    world.endpoint.credential_ref = f"env:{name}"
    with pytest.raises(GovTrackError):
        credentials.resolve(world.endpoint)


def test_a_file_below_the_directory_is_read(world: World, folder: Path) -> None:
    endpoint = endpoint_with(world, f"file:{folder}/acme/key")
    with pytest.raises(Conflict, match="missing, empty"):
        credentials.resolve(endpoint)
    (folder / "acme").mkdir()
    (folder / "acme" / "key").write_text(f"{SECRET}\n")
    assert credentials.resolve(endpoint) == SECRET


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "{0}/../key", "{0}", "key", "{0}/sub/../../key", "", "{0}\x00/key", "~/key"],
)
def test_a_file_elsewhere_is_refused(world: World, folder: Path, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        endpoint_with(world, f"file:{path.format(folder)}")
    assert caught.value.field == "credential"


def test_a_link_that_leads_out_is_refused_when_it_is_read(
    world: World, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "key"
    outside.write_text(SECRET)
    endpoint = endpoint_with(world, f"file:{folder}/key")
    (folder / "key").symlink_to(outside)
    with pytest.raises(InvalidInput, match="outside the directory"):
        credentials.resolve(endpoint)


def test_a_file_that_holds_our_own_secret_is_refused(
    world: World, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "django").write_text("our-own-secret")
    monkeypatch.setenv("SECRET_KEY_FILE", str(folder / "django"))
    with pytest.raises(InvalidInput, match="secret of this installation"):
        endpoint_with(world, f"file:{folder}/django")


def test_a_huge_or_binary_file_is_no_credential(world: World, folder: Path) -> None:
    endpoint = endpoint_with(world, f"file:{folder}/key")
    for content in (b"x" * 10_000, b"\xff\xfe\x00", b"", b"a\nb"):
        (folder / "key").write_bytes(content)
        with pytest.raises(GovTrackError):
            credentials.resolve(endpoint)


@pytest.mark.parametrize(
    "credential",
    [SECRET, "vault:x", "plain:", f"plain: {SECRET}", "plain:a\nb", "plain:schlüssel", 7, None],
)
def test_a_credential_of_no_known_form_is_refused_without_repeating_it(
    world: World, credential: Any
) -> None:
    with pytest.raises(InvalidInput) as caught:
        endpoint_with(world, credential)
    assert SECRET not in f"{caught.value} {caught.value.problems}"
    assert "schlüssel" not in str(caught.value)


def test_a_new_host_needs_the_credential_again(world: World) -> None:
    endpoint = endpoint_with(world, f"plain:{SECRET}")
    with pytest.raises(InvalidInput, match="belongs to the old address"):
        services.update_endpoint(
            actor=world.admin, endpoint=endpoint, base_url="http://127.0.0.1:10/v1"
        )
    moved = services.update_endpoint(
        actor=world.admin, endpoint=endpoint, base_url="http://127.0.0.1:9/v2"
    )
    assert credentials.resolve(moved) == SECRET
    moved = services.update_endpoint(
        actor=world.admin,
        endpoint=moved,
        base_url="http://127.0.0.1:10/v1",
        credential="plain:sk-another",
    )
    assert credentials.resolve(moved) == "sk-another"
