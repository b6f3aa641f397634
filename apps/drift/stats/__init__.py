"""Statistics of drift: pure Python, NumPy and SciPy; knows neither Django nor the database.

Read in this order: `ranks` (the rank of an answer among earlier answers of its case), `martingale`
(betting on the ranks), `watch` (both, for one metric), `effect` (how large, with interval),
`verdict` (four words), `combine` (several metrics), `power` (planning), `changepoint` (when).
"""

from apps.drift.stats.changepoint import change_interval, change_window
from apps.drift.stats.checks import NotEnoughAnswers
from apps.drift.stats.combine import combine_log_e, deal_weights, e_bh
from apps.drift.stats.effect import Effect, effect_interval
from apps.drift.stats.labelling import first_rerun_log_e
from apps.drift.stats.martingale import RestartMixture
from apps.drift.stats.power import (
    answers_needed_for_margin,
    baseline_answers_needed,
    further_answers,
    reruns_to_detect,
)
from apps.drift.stats.ranks import recorded_uniform, smoothed_rank
from apps.drift.stats.suite import suite_log_e
from apps.drift.stats.verdict import (
    MetricVerdict,
    Verdict,
    VersionVerdict,
    decide_metric,
    decide_version,
    evidence,
)
from apps.drift.stats.watch import CaseWatch, LookResult

__all__ = [
    "CaseWatch",
    "Effect",
    "LookResult",
    "MetricVerdict",
    "NotEnoughAnswers",
    "RestartMixture",
    "Verdict",
    "VersionVerdict",
    "answers_needed_for_margin",
    "baseline_answers_needed",
    "change_interval",
    "change_window",
    "combine_log_e",
    "deal_weights",
    "decide_metric",
    "decide_version",
    "e_bh",
    "effect_interval",
    "evidence",
    "first_rerun_log_e",
    "further_answers",
    "recorded_uniform",
    "reruns_to_detect",
    "smoothed_rank",
    "suite_log_e",
]
