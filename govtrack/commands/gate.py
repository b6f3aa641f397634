"""`govtrack gate`: may I still use this model? For pipelines: the exit status is the answer."""

from __future__ import annotations

import json
import os
import urllib.parse
from typing import Annotated

import typer
from rich.markup import escape

from govtrack import stack
from govtrack.commands.common import DataDir, fail, out, product, version_named

STATUS = {"allow": 0, "conditional": 0, "hold": 3, "deny": 4}


def gate(
    use_case: Annotated[str, typer.Argument(help="Slug of the use case.")],
    version: Annotated[str, typer.Argument(help="Label or id of the model version.")],
    url: Annotated[
        str, typer.Option(envvar="GOVTRACK_URL", help="Ask this GovTrack instead of the local one.")
    ] = "",
    token_env: Annotated[
        str, typer.Option(help="Environment variable that holds the API token (with --url).")
    ] = "GOVTRACK_TOKEN",  # noqa: S107
    as_json: Annotated[bool, typer.Option("--json")] = False,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
) -> None:
    """Exit 0 for allow and conditional, 3 for hold, 4 for deny, 1 when it could not be asked."""
    if url:
        answer, reason = _remote(url, token_env, use_case, version)
    else:
        with product(data_dir):
            from apps.registry import gate as registry_gate
            from apps.registry.models import UseCase

            found = UseCase.objects.filter(slug=use_case).first()
            if found is None:
                fail(f"use_case: there is none called {use_case}.")
            result = registry_gate.check(use_case=found, model_version=version_named(version))
            answer, reason = str(result.answer), result.reason
    if as_json:
        typer.echo(json.dumps({"answer": answer, "reason": reason}))
    else:
        out.print(f"[bold]{answer}[/bold]: {escape(reason)}", markup=True, soft_wrap=True)
    raise typer.Exit(STATUS.get(answer, 4))


def _remote(url: str, token_env: str, use_case: str, version: str) -> tuple[str, str]:
    import httpx

    token = os.environ.get(token_env, "")
    if not token:
        fail(f"token_env: {token_env} is empty.", remedy="`govtrack token create ci --scope gate`")
    query = urllib.parse.urlencode({"use_case": use_case, "version": version})
    try:
        response = httpx.get(
            f"{url.rstrip('/')}/api/v1/gate?{query}",
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        )
        body = response.json()
    except (httpx.HTTPError, ValueError) as error:
        fail(f"url: {url} could not be asked: {error}")
    if response.status_code != 200:
        fail(body.get("detail", f"status {response.status_code}"))
    return body["answer"], body["reason"]
