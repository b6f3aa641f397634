"""Which code is this? Stored with every run, so that an old answer can be asked for again."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from django.conf import settings


@cache
def code_version() -> str:
    """ "0.1.0+3f2a9c1": version and, where it runs from a checkout or an image that says so, the
    commit (GOVTRACK_COMMIT, else what .git names; read as files, no git needed)."""
    commit = settings.GOVTRACK.get("COMMIT") or _commit(Path(settings.BASE_DIR) / ".git")
    version = settings.GOVTRACK["VERSION"]
    return f"{version}+{commit[:12]}" if commit else version


def _commit(git: Path) -> str:
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.is_file():
            return loose.read_text().strip()
        for line in (git / "packed-refs").read_text().splitlines():
            if line.endswith(f" {name}"):
                return line.split(" ")[0]
    except OSError:
        pass
    return ""
