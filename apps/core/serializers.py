"""Bases of all serializers: what comes in is strict, what goes out is plain."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


class FiniteFloatField(serializers.FloatField):
    """JSON has no NaN and no infinity: refused on the way in, null on the way out."""

    default_error_messages = {"not_finite": "Give a finite number."}

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool | str):
            self.fail("invalid")
        value = float(super().to_internal_value(data))
        if not math.isfinite(value):
            self.fail("not_finite")
        return value

    def to_representation(self, value: Any) -> float | None:  # type: ignore[override]
        number = float(value)
        return number if math.isfinite(number) else None


class Strict(serializers.Serializer[Any]):
    """Input. A field that is not known here is an error that names it, never ignored."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = sorted(n for n, f in self.fields.items() if not f.read_only)
            errors = {}
            for name in data:
                if name in known:
                    continue
                if name in self.fields:
                    errors[str(name)[:120]] = ["This field is read-only. Leave it out."]
                else:
                    hint = f"Known fields: {', '.join(known)}." if known else "None is expected."
                    errors[str(name)[:120]] = [f"Unknown field. {hint}"]
            if errors:
                raise serializers.ValidationError(errors)  # type: ignore[arg-type]
        return super().to_internal_value(data)


class Nothing(Strict):
    """For acts that need no input: an empty body or {}."""


class Reason(Strict):
    reason = serializers.CharField(max_length=2000, help_text="Why; it is kept in the history.")


class OptionalReason(Strict):
    reason = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")


class Ref(serializers.Serializer[Any]):
    """Another object, named so that a reader need not fetch it."""

    id = serializers.UUIDField()
    name = serializers.CharField()


def name_of(obj: models.Model) -> str:
    if type(obj).__str__ is models.Model.__str__:
        return f"{str(obj._meta.verbose_name).capitalize()} {str(obj.pk)[-8:]}"
    return str(obj)[:300]


@extend_schema_field(Ref)
class RefField(serializers.RelatedField):  # type: ignore[type-arg]
    def to_representation(self, value: Any) -> dict[str, str]:
        return {"id": str(value.pk), "name": name_of(value)}


class Row(serializers.ModelSerializer[Any]):
    """Output. Every field is read-only; a reference is shown as {id, name}."""

    serializer_related_field = RefField  # type: ignore[assignment]
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.FloatField: FiniteFloatField,
    }

    def get_extra_kwargs(self) -> dict[str, Any]:
        kwargs = super().get_extra_kwargs()
        for name in self.Meta.fields:  # type: ignore[attr-defined]
            kwargs.setdefault(name, {})["read_only"] = True
        return kwargs
