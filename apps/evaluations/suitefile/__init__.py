"""The file form of a suite: reading, checking, hashing, rendering, writing. See docs/suites.md."""

from apps.evaluations.suitefile.dump import dump_suite
from apps.evaluations.suitefile.errors import Problem, SuiteError
from apps.evaluations.suitefile.loader import (
    MAX_FILE_BYTES,
    load_suite,
    load_suite_dir,
    parse_suite_bytes,
)
from apps.evaluations.suitefile.render import render_case
from apps.evaluations.suitefile.scoring import build_scorers, metric_value, score_answer
from apps.evaluations.suitefile.types import (
    SCHEMA,
    Case,
    Message,
    MetricSpec,
    Prompt,
    ScorerSpec,
    Suite,
    content_hash,
)

__all__ = [
    "MAX_FILE_BYTES",
    "SCHEMA",
    "Case",
    "Message",
    "MetricSpec",
    "Problem",
    "Prompt",
    "ScorerSpec",
    "Suite",
    "SuiteError",
    "build_scorers",
    "content_hash",
    "dump_suite",
    "load_suite",
    "load_suite_dir",
    "metric_value",
    "parse_suite_bytes",
    "render_case",
    "score_answer",
]
