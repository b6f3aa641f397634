"""What is wrong with a suite's files: every problem with its place and its remedy."""

from __future__ import annotations

from dataclasses import dataclass

Path = tuple[str | int, ...]
MAX_PROBLEMS = 50


@dataclass(frozen=True)
class Problem:
    """One problem. Lines and columns count from 1; 0 means that the whole file is meant."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


@dataclass(frozen=True)
class Finding:
    """A problem before its line is looked up, and the place that it collides with if any."""

    path: Path
    message: str
    other: Path | None = None


class SuiteError(ValueError):
    """A suite that cannot be read. Nothing of it is used; all problems found are in `problems`."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems[:MAX_PROBLEMS]
        self.left_out = max(0, len(problems) - MAX_PROBLEMS)
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if self.left_out:
            lines.append(f"… and {self.left_out} more problems.")
        return "\n".join(lines)


def print_path(path: Path) -> str:
    """('cases', 3, 'expect') as 'cases[3].expect'."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            short = part if len(part) <= 60 else part[:59] + "…"
            text += f".{short}" if text else short
    return text
