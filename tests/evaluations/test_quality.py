"""Which cases of a suite tell models apart, which never vary, which look ambiguous."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from apps.evaluations.quality import quality_of

tables = st.lists(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=5),
        min_size=1,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=80, deadline=None)
@given(tables)
def test_every_figure_stays_within_its_bounds(runs: list[dict[str, list[float]]]) -> None:
    for one in quality_of(runs).values():
        assert 0 <= one.pass_rate <= 1
        assert 0 <= one.flakiness <= 1
        assert one.discrimination is None or -1.0001 <= one.discrimination <= 1.0001
        assert one.runs <= len(runs)


def test_replicates_that_disagree_are_flaky_and_half_right_looks_ambiguous() -> None:
    found = quality_of([{"calm": [1, 1], "torn": [1, 0]}] * 4)
    assert (found["calm"].flakiness, found["torn"].flakiness) == (0, 1)
    assert found["torn"].flags == ["ambiguous"]
    assert found["calm"].flags == ["always"]


def test_one_answer_a_run_says_nothing_about_flakiness() -> None:
    assert quality_of([{"a": [1.0]}, {"a": [0.0]}])["a"].flakiness == 0


def test_a_case_that_moves_against_the_rest_is_pointed_out() -> None:
    good = {"a": [1.0], "b": [1.0], "odd": [0.0]}
    bad = {"a": [0.0], "b": [0.0], "odd": [1.0]}
    found = quality_of([good, bad, good, bad])
    assert found["odd"].discrimination is not None
    assert round(found["odd"].discrimination, 6) == -1
    assert found["odd"].flags == ["against"]
    assert quality_of([good, bad, good])["odd"].discrimination is None


def test_too_few_answers_point_nothing_out() -> None:
    assert quality_of([{"a": [0.0]}] * 7)["a"].flags == []
    assert quality_of([{"a": [0.0]}] * 8)["a"].flags == ["never"]
