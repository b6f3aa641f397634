"""The faults, one function each: break something while a run is under way, and see it go on."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.request
from contextlib import suppress
from typing import Any

from django.db import connection

from tests.faults.stack import LEASE_SECONDS, until
from tests.faults.trial import Trial

DISK_FULL = """
CREATE TABLE fault_disk_full (since timestamptz);
CREATE FUNCTION fault_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM fault_disk_full) THEN
    RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER fault_disk_full BEFORE INSERT ON evaluations_sample
  FOR EACH ROW EXECUTE FUNCTION fault_disk_full();
CREATE TRIGGER fault_disk_full BEFORE UPDATE ON evaluations_shard
  FOR EACH ROW EXECUTE FUNCTION fault_disk_full();
"""


def nothing(t: Trial) -> None:
    """The endpoint's own faults are enough."""


def worker_killed(t: Trial) -> None:
    lost = t.pids(t.runners[0])
    t.stack.kill(t.runners[0])
    moment = t.moment()
    t.runners[0] = t.stack.runner()
    t.goes_on(moment, lost=lost)


def all_workers_killed(t: Trial) -> None:
    lost = t.pids(*t.runners, t.ticker)
    t.stack.kill(*t.runners, t.ticker)
    moment = t.moment()
    t.ticker, t.runners = t.stack.ticker(), [t.stack.runner(), t.stack.runner()]
    t.goes_on(moment, lost=lost, over=t.ready(t.ticker, *t.runners))


def beat_killed(t: Trial) -> None:
    t.stack.kill(t.beat)
    moment = t.moment()
    t.goes_on(moment)
    time.sleep(1)
    t.beat = t.stack.beat()


def worker_stopped_beyond_its_lease(t: Trial) -> None:
    lost = t.pids(t.runners[0])
    t.stack.signal(t.runners[0], signal.SIGSTOP)
    moment = t.moment()
    t.goes_on(moment, lost=lost)
    time.sleep(max(0.0, moment.at + LEASE_SECONDS + 2 - time.monotonic()))
    t.stack.signal(t.runners[0], signal.SIGCONT)


def broker_flushed(t: Trial) -> None:
    t.stack.broker.flushdb()
    t.goes_on(t.moment())


def two_beats(t: Trial) -> None:
    t.stack.beat()
    t.goes_on(t.moment())


def clocks_moved(t: Trial) -> None:
    """One runner's clock goes forward by an hour, all the others' go back by one."""
    for number, file in enumerate(sorted(t.stack.folder.glob("clock-*"))):
        file.write_text("3600" if number == 0 else "-3600")
    moment = t.moment()
    time.sleep(2)
    # New work must be found as well, by clocks that do not agree.
    lost = t.pids(t.runners[0])
    t.stack.kill(t.runners[0])
    t.moments.remove(moment)
    t.goes_on(t.moment(), lost=lost)


def disk_full(t: Trial) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO fault_disk_full VALUES (now())")
        moment = t.moment()
        time.sleep(2 * LEASE_SECONDS)
        assert not t.cases() - moment.stored
        cursor.execute("DELETE FROM fault_disk_full")
    t.goes_on(moment, over=time.monotonic())


def web_killed(t: Trial, token: str) -> None:
    """Killed while it starts the run, and again in the middle of it."""
    port = free_port()
    body = {name: str(value.pk) for name, value in t.prepare().items()}
    web = _web(t, port, token)
    for _ in range(2):
        with suppress(OSError):
            _post(port, token, "runs", body, timeout=0.05)
    t.stack.kill(web)
    web = _web(t, port, token)
    made = _post(port, token, "runs", body, timeout=30)
    from apps.evaluations.models import Run

    t.start(Run.objects.get())  # one, however often it was asked for
    assert str(t.run.pk) == made["id"]
    t.reach(0.1)
    t.stack.kill(web)
    t.goes_on(t.moment())


def postgres_restarted(t: Trial, servers: Any) -> None:
    moment = t.moment()
    servers.restart("postgres", down_seconds=2.0)
    connection.close()
    t.goes_on(moment, over=time.monotonic())


def broker_restarted(t: Trial, servers: Any) -> None:
    """It comes back empty: nothing of it is on disk."""
    moment = t.moment()
    servers.restart("valkey", down_seconds=2.0)
    t.goes_on(moment, over=time.monotonic())


def _web(t: Trial, port: int, token: str) -> Any:
    web = t.stack.web(port)

    def answers() -> bool:
        try:
            return bool(_call(port, token, "runs"))
        except OSError:
            return False

    until(answers, seconds=60, what="the web process", logs=t.stack.logs)
    return web


def _post(port: int, token: str, path: str, body: Any, *, timeout: float) -> dict[str, Any]:
    return _call(port, token, path, json.dumps(body).encode(), timeout=timeout)


def _call(
    port: int, token: str, path: str, data: bytes | None = None, timeout: float = 10
) -> dict[str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{path}", data=data)
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Content-Type", "application/json")
    if data:
        request.add_header("Idempotency-Key", "start-once")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        return dict(json.loads(response.read()))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
