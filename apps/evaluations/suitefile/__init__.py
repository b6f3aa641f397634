"""The file form of a suite: reading, checking, hashing, rendering, writing. See docs/suites.md."""

from apps.evaluations.suitefile.decoding import MAX_CASES_BYTES, MAX_FILE_BYTES
from apps.evaluations.suitefile.documents import case_of_document, suite_of_document
from apps.evaluations.suitefile.dump import dump_suite, pack_suite
from apps.evaluations.suitefile.errors import Problem, SuiteError
from apps.evaluations.suitefile.loader import (
    load_suite,
    load_suite_dir,
    parse_document,
    parse_suite_bytes,
)
from apps.evaluations.suitefile.render import asking_of, render_case
from apps.evaluations.suitefile.scoring import build_scorers, metric_value, score_answer
from apps.evaluations.suitefile.types import (
    SCHEMA,
    Asking,
    Case,
    Image,
    ImagePart,
    Message,
    MetricSpec,
    Prompt,
    ScorerSpec,
    Suite,
    TextPart,
    ToolCall,
    content_hash,
)

__all__ = [
    "MAX_CASES_BYTES",
    "MAX_FILE_BYTES",
    "SCHEMA",
    "Asking",
    "Case",
    "Image",
    "ImagePart",
    "Message",
    "MetricSpec",
    "Problem",
    "Prompt",
    "ScorerSpec",
    "Suite",
    "SuiteError",
    "TextPart",
    "ToolCall",
    "asking_of",
    "build_scorers",
    "case_of_document",
    "content_hash",
    "dump_suite",
    "load_suite",
    "load_suite_dir",
    "metric_value",
    "pack_suite",
    "parse_document",
    "parse_suite_bytes",
    "render_case",
    "score_answer",
    "suite_of_document",
]
