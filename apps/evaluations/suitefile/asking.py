"""Checks of what goes with the messages: tools, tool choice, the form of the answer."""

from __future__ import annotations

from collections.abc import Iterator

from apps.evaluations.scorers.safe_schema import schema_problem
from apps.evaluations.suitefile.errors import Finding, Path
from apps.evaluations.suitefile.types import Asking


def asking_problems(asking: Asking, path: Path, base: Asking | None) -> Iterator[Finding]:
    """Of a suite's defaults (base None) or of one case, which falls back on `base`."""
    seen: dict[str, int] = {}
    for index, tool in enumerate(asking.tools or ()):
        name = tool["name"]
        if name in seen:
            yield Finding(
                (*path, "tools", index, "name"),
                f"The tool '{name}' is described twice. Rename or remove one.",
                (*path, "tools", seen[name], "name"),
            )
        seen.setdefault(name, index)
        parameters = tool.get("parameters")
        if parameters is not None:
            problem = schema_problem(parameters)
            if problem is None and parameters.get("type") != "object":
                problem = "Arguments are an object: write type: object at the schema's top."
            if problem:
                yield Finding((*path, "tools", index, "parameters"), f"Tool '{name}': {problem}")
    yield from _choice_problems(asking, path, base)
    yield from _format_problems(asking, path)


def _choice_problems(asking: Asking, path: Path, base: Asking | None) -> Iterator[Finding]:
    if asking.tool_choice is None and asking.tools is None:
        return
    whole = asking.over(base) if base is not None else asking
    choice, tools = whole.tool_choice, whole.tools or ()
    where = "tool_choice" if asking.tool_choice is not None else "tools"
    if isinstance(choice, dict) and choice["name"] not in [tool["name"] for tool in tools]:
        yield Finding(
            (*path, where),
            f"The tool '{choice['name']}' must be called, but there is no such tool. "
            "Describe it under 'tools', or choose another.",
        )
    elif choice == "required" and not tools:
        yield Finding(
            (*path, where),
            "A call is required, but there are no tools. Describe one under 'tools'.",
        )


def _format_problems(asking: Asking, path: Path) -> Iterator[Finding]:
    form = asking.response_format
    if form is None:
        return
    place = (*path, "response_format")
    if form["type"] == "json_schema":
        for key in ("name", "schema"):
            if key not in form:
                yield Finding(place, f"The type json_schema needs '{key}'. Add it.")
        problem = schema_problem(form["schema"]) if "schema" in form else None
        if problem:
            yield Finding((*place, "schema"), problem)
    else:
        for key in ("name", "schema", "strict"):
            if key in form:
                yield Finding(
                    (*place, key),
                    f"'{key}' belongs to the type json_schema. Change the type, or remove it.",
                )
