"""The product's Celery application, with every message sent twice: for beats and workers of a test
(`celery -A tests.faults.doubled`)."""

from __future__ import annotations

from typing import Any

from govtrack.celery import app

_send = app.amqp.send_task_message


def _twice(*args: Any, **kwargs: Any) -> Any:
    _send(*args, **kwargs)
    return _send(*args, **kwargs)


app.amqp.__dict__["send_task_message"] = _twice
