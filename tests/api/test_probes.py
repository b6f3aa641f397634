"""Probes, and what production reports, through the API."""

from __future__ import annotations

from typing import Any

from apps.core import clock
from apps.drift.models import ObservedTraffic, Probe
from tests.api.conftest import Api, is_problem
from tests.world import World


def batch(world: World, **fields: Any) -> dict[str, Any]:
    item = {
        "model_version": str(world.version.pk),
        "observed_at": clock.now().isoformat(),
        "returned_model": "assistant-instant",
        "system_fingerprint": "fp_1",
        "prompt_tokens": 12,
        "latency_ms": 80.5,
        **fields,
    }
    return {"batch_id": "b-1", "observations": [item]}


def test_a_batch_is_taken_once_and_counted_by_hour(world: World, owner: Api) -> None:
    first = owner.post("observations", batch(world))
    assert (first.status_code, first.json()) == (
        201,
        {"accepted": 1, "unknown": 0, "replayed": False},
    )
    [row] = owner.get("observed-traffic", version=str(world.version.pk)).json()["results"]
    assert (row["requests"], row["mean_latency_ms"]) == (1, 80.5)
    [probe] = owner.get("probes", kind="passive").json()["results"]
    assert (probe["phase"], probe["rounds"]) == ("collecting", 1)


def test_content_has_no_field_and_is_refused(world: World, owner: Api) -> None:
    answer = owner.post("observations", batch(world, content="Dear Mrs Miller"))
    body = is_problem(answer, 422 if answer.status_code == 422 else 400)
    assert "content" in str(body["errors"])
    assert not ObservedTraffic.objects.exists()


def test_a_token_without_the_scope_reports_nothing(world: World) -> None:
    is_problem(Api(world.owner, scopes=("read",)).post("observations", batch(world)), 403)
    is_problem(Api(world.auditor).post("observations", batch(world)), 403)


def test_an_observation_that_names_no_version_is_an_error(world: World, owner: Api) -> None:
    sent = batch(world)
    del sent["observations"][0]["model_version"]
    assert "base_url" in str(owner.post("observations", sent).json())


def test_probes_are_begun_paused_and_resumed(world: World, owner: Api, auditor: Api) -> None:
    begun = owner.post("probes", {"model_version": str(world.version.pk)})
    assert begun.status_code == 201
    assert {p["kind"] for p in begun.json()["probes"]} == {"identity", "logprob"}
    probe = Probe.objects.get(kind="logprob")
    assert owner.post(f"probes/{probe.pk}/pause").json()["enabled"] is False
    is_problem(auditor.post(f"probes/{probe.pk}/resume"), 403)
    assert owner.post(f"probes/{probe.pk}/resume").json()["enabled"] is True
    assert owner.get(f"probes/{probe.pk}/rounds").json()["results"] == []


def test_a_control_is_made_seen_and_ended(world: World, owner: Api, auditor: Api) -> None:
    pinned = world.another_version()
    body = {"model_version": str(world.version.pk), "control_version": str(pinned.pk)}
    is_problem(auditor.post("control-arms", body), 403)
    made = owner.post("control-arms", body)
    assert made.status_code == 201, made.json()
    [row] = owner.get("control-arms", version=str(world.version.pk)).json()["results"]
    assert row["control_version"]["name"] == str(pinned)
    assert owner.client.delete(f"/api/v1/control-arms/{row['id']}").status_code == 204
    assert owner.get("control-arms").json()["results"] == []
    assert owner.get("control-findings").json()["results"] == []
