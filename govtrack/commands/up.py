"""`govtrack up`: the product on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from govtrack import stack
from govtrack.commands.common import DataDir, fail, out
from govtrack.embedded import EmbeddedError
from govtrack.supervisor import StartFailed, Supervisor


def up(
    port: Annotated[int, typer.Option(help="Port of the pages and the API.")] = stack.DEFAULT_PORT,
    data_dir: DataDir = stack.DEFAULT_DATA_DIR,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1, max=64)] = 2,
) -> None:
    """Start the product: database, broker, web, worker and beat. Ctrl-C stops all of it."""
    data_dir = data_dir.absolute()
    try:
        stack.check_port(port)
        with stack.servers(data_dir) as embedded:
            out.print("Starting GovTrack …")
            database, redis = stack.addresses(embedded)
            env = stack.environment(data_dir, database_url=database, redis_url=redis)
            stack.migrate(env)
            with Supervisor(data_dir / "logs", say=out.print) as supervisor:
                stack.add_product(supervisor, env=env, port=port, workers=workers)
                supervisor.start_all()
                _greet(data_dir, env, port)
                supervisor.wait()
                out.print("Stopping …")
    except (EmbeddedError, StartFailed, stack.PortTaken, RuntimeError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        out.print("Stopped.")


def _greet(data_dir: object, env: dict[str, str], port: int) -> None:
    import os

    os.environ.update(env)
    stack.load_django()
    from apps.access.services import create_setup_link
    from apps.accounts.models import Role, User

    out.print(f"\n[bold]GovTrack is running:[/bold] http://127.0.0.1:{port}/", markup=True)
    has_admin = User.objects.filter(
        is_active=True, role_assignments__role=Role.ADMINISTRATOR
    ).exists()
    if not has_admin:
        token = create_setup_link()
        out.print("Create the first administrator, in the browser (valid for one hour, once):")
        out.print(f"  http://127.0.0.1:{port}/setup/{token}/", soft_wrap=True)
        out.print("or in another terminal: govtrack createadmin")
    out.print(f"Data and logs: {data_dir}. Ctrl-C stops everything.")
    from django.db import connections

    connections.close_all()
