"""Prints the JSON Schema of a suite, as schema.json publishes it."""

from apps.evaluations.suitefile.schema import published

print(published(), end="")
