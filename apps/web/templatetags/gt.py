"""`{% load gt %}`: every tag of the design system (templates/design/README.md lists them)."""

from __future__ import annotations

from apps.web.tags import forms, numbers, pictures, rail, register, states, texts, timelines

__all__ = ["forms", "numbers", "pictures", "rail", "register", "states", "texts", "timelines"]
