"""The geometry of the charts, the word diff, and the tags that write them."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import django
import pytest
from django.conf import settings
from django.template import Context, Engine, Template
from django.test import override_settings
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
urlpatterns: list[object] = []  # the style page is drawn here without any other page
if not settings.configured:  # alone, without the project's settings
    settings.configure(
        USE_TZ=True,
        TIME_ZONE="UTC",
        STATIC_URL="/static/",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_htmx"],
    )
    django.setup()

from apps.web import charts  # noqa: E402
from apps.web.tags import forms, states, texts  # noqa: E402
from apps.web.tags import numbers as written  # noqa: E402

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
PLAIN_STATIC = {
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
numbers = st.floats(allow_nan=True, allow_infinity=True) | st.none()

engine = Engine(
    dirs=[str(ROOT / "templates")],
    libraries={
        "gt": "apps.web.templatetags.gt",
        "gt_samples": "apps.web.templatetags.gt_samples",
        "static": "django.templatetags.static",
        "django_htmx": "django_htmx.templatetags.django_htmx",
    },
)


def render(source: str, **context: object) -> str:
    return engine.from_string("{% load gt %}" + source).render(Context(context))


# ------------------------------------------------------------------------------- sparkline


def test_a_sparkline_stays_inside_its_box_and_rises_with_its_values() -> None:
    line = charts.sparkline([1, 2, 4], width=100, height=20, pad=2)
    points = [tuple(map(float, pair.split(","))) for pair in line.segments[0].split()]
    assert points == [(2, 18), (50, 12.67), (98, 2)]
    assert line.last == (98, 2)


def test_a_missing_value_is_a_gap_not_a_straight_line_across() -> None:
    line = charts.sparkline([1, 2, None, float("nan"), 3, 4])
    assert len(line.segments) == 2


def test_a_lone_value_between_gaps_is_a_dot() -> None:
    line = charts.sparkline([1, 2, None, 3, None, 4, 5])
    assert len(line.segments) == 2
    assert len(line.dots) == 1


def test_a_flat_series_runs_through_the_middle_and_nothing_known_draws_nothing() -> None:
    flat = charts.sparkline([3, 3, 3], height=20)
    assert flat.last is not None
    assert flat.last[1] == 10
    assert charts.sparkline([]).last is None
    assert charts.sparkline([None, "x"]).segments == []


@given(st.lists(numbers, max_size=60))
def test_no_series_draws_outside_the_box(values: list[float | None]) -> None:
    line = charts.sparkline(values)
    drawn = [pair for segment in line.segments for pair in segment.split()]
    for pair in drawn:
        x, y = map(float, pair.split(","))
        assert 0 <= x <= line.width
        assert 0 <= y <= line.height


# ----------------------------------------------------------------------------- forest plot


def row(estimate: float, low: float, high: float, margin: float | None) -> charts.ForestInput:
    return charts.ForestInput(estimate, low, high, margin)


def test_an_interval_inside_its_margin_lies_inside_the_band_whatever_the_unit() -> None:
    plot = charts.forest([row(0.2, -0.9, 1.3, 2), row(-340, -380, -300, 50)])
    inside, outside = plot.marks
    assert inside is not None
    assert outside is not None
    assert plot.band_x < inside.x_low < inside.x_high < plot.band_x + plot.band_width
    assert outside.x_high < plot.band_x


def test_a_row_without_margin_or_interval_has_no_place() -> None:
    rows = [row(1, 0, 2, None), row(1, 0, 2, 0), charts.ForestInput(1, None, 2, 1)]
    assert charts.forest(rows).marks == [None, None, None]


def test_what_lies_beyond_the_plot_is_cut_with_an_arrow_and_has_no_point() -> None:
    mark = charts.forest([row(-90, -95, -80, 1)]).marks[0]
    assert mark is not None
    assert mark.x is None
    assert mark.cut_left
    assert not mark.cut_right


@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3, st.floats(0.01, 1e3)), min_size=1, max_size=9)
)
def test_zero_is_in_the_middle_and_order_is_kept(rows: list[tuple[float, ...]]) -> None:
    plot = charts.forest([charts.ForestInput(*values) for values in rows])
    assert plot.zero == pytest.approx(plot.width / 2)
    for mark in plot.marks:
        assert mark is not None
        assert 0 <= mark.x_low <= mark.x_high <= plot.width


# --------------------------------------------------------------------------------- time axis


@given(st.integers(1, 10**9), st.integers(2, 12))
def test_ticks_are_few_ordered_and_inside(seconds: int, most: int) -> None:
    ticks = charts.time_ticks(NOW, NOW + timedelta(seconds=seconds), most=most)
    positions = [tick.position for tick in ticks]
    assert len(ticks) <= most + 1
    assert positions == sorted(positions)
    assert all(0 <= position <= 100 for position in positions)


def test_ticks_within_a_day_are_round_hours() -> None:
    ticks = charts.time_ticks(NOW, NOW + timedelta(hours=6))
    assert [tick.label for tick in ticks][:3] == ["10:00", "11:00", "12:00"]


# ------------------------------------------------------------------------------- e-values


def looks(*values: float) -> list[charts.Look]:
    return [charts.Look(NOW + timedelta(hours=n), value) for n, value in enumerate(values)]


def test_ten_times_the_evidence_is_the_same_step_up_everywhere() -> None:
    chart = charts.evalue_chart(looks(1, 10, 100), alarm=1000)
    first, second, third = (point.y for point in chart.points)
    assert first - second == pytest.approx(second - third, abs=0.02)


def test_the_alarm_line_is_in_the_picture_even_when_nothing_comes_near() -> None:
    chart = charts.evalue_chart(looks(0.5, 0.7), alarm=100)
    assert 0 < chart.alarm_y < chart.height
    assert chart.first_over is None


def test_the_first_look_over_the_line_is_named_and_survives_thinning() -> None:
    values = [1.0] * 1000
    values[321] = 150.0
    chart = charts.evalue_chart(looks(*values), alarm=100, most=100)
    assert len(chart.points) <= 101
    assert chart.first_over is not None
    assert chart.first_over.at == NOW + timedelta(hours=321)
    assert any(point.over for point in chart.points)


def test_zero_and_infinity_sit_on_the_edge_and_nan_is_left_out() -> None:
    chart = charts.evalue_chart(looks(0, math.inf, math.nan), alarm=100)
    assert len(chart.points) == 2
    assert all(0 <= point.y <= chart.height for point in chart.points)


def test_no_looks_and_one_look_are_charts_too() -> None:
    assert charts.evalue_chart([], alarm=100).points == []
    assert charts.evalue_chart(looks(3), alarm=100).points[0].x == 50


def test_an_alarm_line_that_no_log_axis_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        charts.evalue_chart(looks(1), alarm=0)


# ------------------------------------------------------------------------------- timeline


def test_an_open_span_reaches_the_edge_and_says_that_it_goes_on() -> None:
    line = charts.timeline(
        [[charts.Span(NOW - timedelta(days=1), None)]],
        start=NOW - timedelta(days=2),
        end=NOW,
        now=NOW,
    )
    place = line.lanes[0][0]
    assert place is not None
    assert (place.x, place.width, place.cut_right) == (50, 50, True)


def test_what_lies_outside_has_no_place_and_what_overlaps_is_cut() -> None:
    day = timedelta(days=1)
    outside, overlapping = charts.timeline(
        [[charts.Span(NOW - 9 * day, NOW - 8 * day), charts.Span(NOW - 9 * day, NOW - day)]],
        start=NOW - 2 * day,
        end=NOW,
        now=NOW,
    ).lanes[0]
    assert outside is None
    assert overlapping is not None
    assert overlapping.x == 0
    assert overlapping.cut_left


def test_what_began_just_now_is_still_seen() -> None:
    """A stretch of minutes on an axis of months had no width at all."""
    begun = charts.Span(NOW - timedelta(minutes=5), None)
    placed = charts.timeline([[begun]], start=NOW - timedelta(days=90), now=NOW).lanes[0][0]
    assert placed is not None
    assert placed.width == charts.LEAST_WIDTH
    assert placed.x + placed.width <= 100


@given(st.lists(st.floats(0, 100), max_size=60))
def test_moments_too_close_for_the_eye_share_a_mark_and_none_is_lost(xs: list[float]) -> None:
    places = [charts.Placed(x, 0.0, True, False, False) for x in xs]
    groups = charts.grouped(places)
    assert sorted(i for group in groups for i in group) == list(range(len(xs)))
    firsts = [min(xs[i] for i in group) for group in groups]
    assert all(b - a >= charts.LEAST_GAP for a, b in pairwise(firsts))
    for group in groups:
        assert max(xs[i] for i in group) - min(xs[i] for i in group) < charts.LEAST_GAP


def test_an_empty_timeline_has_an_axis() -> None:
    line = charts.timeline([[]], now=NOW)
    assert line.end > line.start


# ------------------------------------------------------------------------------- word diff


def kept(diff: charts.WordDiff, side: str) -> str:
    gone = "new" if side == "before" else "gone"
    return "".join(
        part.before if side == "before" and part.kind == "same" else part.text
        for part in diff.parts
        if part.kind != gone
    )


@hypothesis_settings(deadline=None)
@given(
    st.text(alphabet="ab .,\n\tß中<&", max_size=120),
    st.text(alphabet="ab .,\n\tß中<&", max_size=120),
)
def test_both_texts_can_be_read_back_from_the_diff(before: str, after: str) -> None:
    diff = charts.word_diff(before, after)
    assert kept(diff, "before").rstrip(" \t") == before.rstrip(" \t")
    assert kept(diff, "after").rstrip(" \t") == after.rstrip(" \t")


def test_only_the_changed_words_are_marked() -> None:
    diff = charts.word_diff("The limit is 500 EUR.", "The limit is 800 EUR.")
    assert [(p.kind, p.text) for p in diff.parts if p.kind != "same"] == [
        ("gone", " 500"),
        ("new", " 800"),
    ]
    assert (diff.gone, diff.new) == (1, 1)


def test_blanks_alone_are_no_change_but_a_line_break_is() -> None:
    assert charts.word_diff("a  b", "a b").equal
    broken = charts.word_diff("a b", "a\nb")
    assert not broken.equal
    assert (broken.gone, broken.new) == (0, 0)


def test_huge_and_hostile_texts_are_compared_in_bounded_time() -> None:
    started = time.process_time()
    charts.word_diff("a b " * 200_000, "b a " * 200_000)
    charts.word_diff("x" * 20_000_000, "y")
    charts.word_diff(
        " ".join(str(n % 50) for n in range(9000)), " ".join(str(n % 53) for n in range(9000))
    )
    assert time.process_time() - started < 20


def test_what_was_too_long_to_compare_is_said() -> None:
    diff = charts.word_diff("a " * 100_000, "a " * 100_000)
    assert diff.cut > 0
    assert not diff.equal
    assert "were not compared" in texts.diff_html(diff)


def test_markup_in_answers_is_shown_never_run() -> None:
    html = render(
        "{% answers b a %}{% word_diff b a %}", b="<script>x</script>", a='<b onload="y">'
    )
    assert "<script>" not in html
    assert "<b onload" not in html
    assert "&lt;" in html


def test_a_long_equal_stretch_is_folded_and_its_end_stays_in_view() -> None:
    long = " ".join(f"w{n}" for n in range(200))
    html = render("{% word_diff b a %}", b=f"{long} old", a=f"{long} new")
    assert "188 words the same" in html
    assert " w199" in html.split("</details>")[1]


# ----------------------------------------------------------------------- numbers and times


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (-34, "pts", "−34 pts"),
        (1.25, "", "+1.2"),
        (0, "pts", "0 pts"),
        (-0.0001, "s", "0.000 s"),
        (None, "pts", "–"),
        (math.nan, "pts", "–"),
        (math.inf, "", "+∞"),
        (-1234567, "", "−1,234,567"),
    ],
)
def test_effects_carry_a_sign_and_a_unit(value: object, unit: str, said: str) -> None:
    assert written.signed_text(value, unit).replace("\u00a0", " ") == said


def test_an_interval_is_never_rounded_up_to_its_bound() -> None:
    html = render(
        '{% include "components/metric.html" with label="JSON" value=0.994 low=0.981 high=0.998 '
        "share=True only %}"
    ).replace("\u00a0", " ")
    assert "99.4 %" in html
    assert "98.1 … 99.8" in html


def test_an_effect_stands_beside_its_interval() -> None:
    html = render('{% effect -34 -38 -30 "pts" %}').replace("\u00a0", " ")
    assert re.sub(r"<[^>]+>", "", html) == "−34 pts, −38 … −30"


@pytest.mark.parametrize(
    ("delta", "said"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=12), "12 min ago"),
        (timedelta(minutes=59, seconds=40), "1 h ago"),
        (timedelta(hours=6), "6 h ago"),
        (timedelta(hours=23, minutes=50), "1 day ago"),
        (timedelta(days=9), "9 days ago"),
        (timedelta(days=60), "25 Sep 2026"),
        (timedelta(minutes=-14), "in 14 min"),
        (timedelta(seconds=-5), "in a moment"),
    ],
)
def test_times_are_said_relative_to_now(delta: timedelta, said: str) -> None:
    assert written.relative_text(NOW - delta, NOW).replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "almost done"),
        (1, "almost done"),
        (27, "about 25 s left"),
        (200, "about 3 min left"),
        (3 * 3600, "about 3 h left"),
        (5 * 86400, "about 5 days left"),
    ],
)
def test_the_time_left_is_said_as_people_say_it(seconds: float, said: str) -> None:
    until = timezone.now() + timedelta(seconds=seconds)
    assert written.left(until).replace("\u00a0", " ") == said


def test_a_time_keeps_its_exact_moment_and_zone() -> None:
    html = render("{% reltime at %}", at=NOW)
    assert 'datetime="2026-11-24T10:00:00+00:00"' in html
    assert 'title="2026-11-24 10:00:00 UTC"' in html
    assert render("{% reltime at %}", at=None) == "–"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.85, "850 ms"), (4.2, "4.2 s"), (190, "3 min 10 s"), (22330, "6 h 12 min"), (60, "1 min")],
)
def test_durations_use_two_units_at_most(seconds: float, said: str) -> None:
    assert written.duration(seconds).replace("\u00a0", " ") == said


# ---------------------------------------------------------------------- states, lists, nav


def test_a_state_is_a_shape_and_a_word() -> None:
    html = render('{% badge "verdict" "changed (material)" %}')
    assert "<svg" in html
    assert "changed (material)" in html


def test_states_that_mean_different_things_never_share_shape_and_tone_within_a_kind() -> None:
    same = {("approval", "suspended"), ("approval", "revoked"), ("approval", "rejected")}
    for kind in ("gate", "verdict", "run", "event", "assumption", "severity"):
        shapes = [s.shape for key, s in states.STATES[kind].items() if (kind, key) not in same]
        assert len(shapes) - len(set(shapes)) <= (1 if kind == "verdict" else 0), kind


def test_an_unknown_state_keeps_its_own_word() -> None:
    assert "half baked" in render('{% badge "run" "half_baked" %}')


def test_sorting_keeps_the_filters_and_drops_the_cursor() -> None:
    from django.http import QueryDict

    request = SimpleNamespace(GET=QueryDict("q=kyc&cursor=abc&sort=name"), path="/")
    html = render('{% th_sort "name" "Name" %}', request=request)
    assert "q=kyc" in html
    assert "cursor" not in html
    assert "sort=-name" in html
    assert 'aria-sort="ascending"' in html


@pytest.mark.parametrize(
    ("tags", "url"),
    [
        ("undo:/runs/1/undo/", "/runs/1/undo/"),
        ("undo://evil.example/", ""),
        ("undo:https://evil.example/", ""),
        ("safe", ""),
        ("", ""),
    ],
)
def test_undo_leads_only_to_our_own_pages(tags: str, url: str) -> None:
    assert forms.undo_url(SimpleNamespace(extra_tags=tags)) == url


# ------------------------------------------------------------------------- the whole page


class Audit(HTMLParser):
    """Collects what a strict content security policy would refuse, and duplicate ids."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if "style" in names or any(name.startswith("on") for name in names):
            self.refused.append(f"{tag} {names}")
        if tag == "style" or (tag == "script" and "src" not in names):
            self.refused.append(tag)
        if names.get("id"):
            self.ids.append(str(names["id"]))


def test_the_style_page_renders_every_component_within_a_strict_policy() -> None:
    with override_settings(ROOT_URLCONF=__name__, STORAGES=PLAIN_STATIC):
        html = engine.get_template("design/styleguide.html").render(Context({"csrf_token": "t"}))
    audit = Audit()
    audit.feed(html)
    assert audit.refused == []
    assert len(audit.ids) == len(set(audit.ids))
    components = {path.stem for path in (ROOT / "templates/components").glob("*.html")}
    assert components
    assert "{%" not in html
    assert "None" not in re.sub(r"<[^>]+>", "", html)


def test_every_component_says_how_it_is_used() -> None:
    for path in (ROOT / "templates/components").glob("*.html"):
        assert "{% comment %}" in path.read_text(), path.name


def test_answers_without_a_common_word_are_shown_unmarked() -> None:
    tag = Template("{% load gt %}{% answers before after %}")
    long = "Step 1: <b>check</b> every odd number below the root.\n" * 6
    apart = tag.render(Context({"before": long, "after": "[No]"}))
    assert "<del>" not in apart
    assert "Step 1: &lt;b&gt;check" in apart
    assert "Not a word is the same" in apart
    close = tag.render(Context({"before": long, "after": f"{long} No"}))
    assert "<ins>No</ins>" in close
