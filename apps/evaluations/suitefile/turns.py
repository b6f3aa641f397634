"""Checks of conversations: turns that say something, tool answers with their call, known images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apps.evaluations.suitefile.errors import Finding, Path
from apps.evaluations.suitefile.render import VARIABLE, printed
from apps.evaluations.suitefile.types import ImagePart, Message, Suite


def problems(suite: Suite) -> Iterator[Finding]:
    known = {image.sha256 for image in suite.images}
    if suite.prompt is not None:
        messages = suite.prompt.messages
        yield from _turns(messages, ("prompt", "messages"))
        yield from _images(messages, ("prompt", "messages"), known, template=True)
        yield from _image_variables(suite, known)
    for index, case in enumerate(suite.cases):
        if case.messages is not None:
            path = ("cases", index, "messages")
            yield from _turns(case.messages, path)
            yield from _images(case.messages, path, known, template=False)


def _turns(messages: Sequence[Message], path: Path) -> Iterator[Finding]:
    called: set[str] = set()
    for index, message in enumerate(messages):
        place = (*path, index)
        if not message.content and not message.tool_calls:
            yield Finding(place, "The key 'content' is missing. Add it.")
        if message.tool_calls and message.role != "assistant":
            yield Finding(
                (*place, "tool_calls"),
                "Only the assistant calls tools. Change the role, or remove the calls.",
            )
        if message.role == "tool" and message.tool_call_id not in called:
            named = f"'{message.tool_call_id[:60]}'" if message.tool_call_id else "no call"
            yield Finding(
                (*place, "tool_call_id") if message.tool_call_id else place,
                f"This tool's answer names {named}; it must name the 'id' of a call that the "
                "assistant made before it.",
            )
        if message.role != "tool" and message.tool_call_id:
            yield Finding(
                (*place, "tool_call_id"),
                "Only a message of role 'tool' answers a call. Remove the key.",
            )
        called |= {call.id for call in message.tool_calls}


def _images(
    messages: Sequence[Message], path: Path, known: set[str], *, template: bool
) -> Iterator[Finding]:
    for index, message in enumerate(messages):
        for place, part in message.placed_parts():
            if not isinstance(part, ImagePart):
                continue
            if message.role != "user":
                yield Finding(
                    (*path, index, *place), "Images are sent by the user. Change the role."
                )
            if part.sha256.startswith("{"):
                if not template:
                    yield Finding(
                        (*path, index, *place),
                        "A case's own messages are literal. Write the image's hash.",
                    )
            elif part.sha256 not in known:
                yield Finding((*path, index, *place), unknown(part.sha256))


def _image_variables(suite: Suite, known: set[str]) -> Iterator[Finding]:
    """A prompt may name an image by a variable: then every case must give it a known hash."""
    assert suite.prompt is not None
    names = {
        match.group(1)
        for message in suite.prompt.messages
        for part in message.parts
        if isinstance(part, ImagePart) and (match := VARIABLE.fullmatch(part.sha256))
    }
    if not names:
        return
    for index, case in enumerate(suite.cases):
        if case.messages is not None:
            continue
        for name in sorted(names & case.vars.keys()):
            if printed(case.vars[name]) not in known:
                yield Finding(("cases", index, "vars", name), unknown(printed(case.vars[name])))


def unknown(sha256: str) -> str:
    return f"There is no image '{sha256[:64]}' under 'images'. Add it there with its media type."
