"""Log-bucket histograms: mergeable, any percentile within the stated accuracy."""

import math

from hypothesis import given
from hypothesis import strategies as st

from paiid_perf.telemetry import histogram

values = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=200)


def bucketed(observed):
    counts: dict[int, int] = {}
    for value in observed:
        counts[histogram.bucket_of(value)] = counts.get(histogram.bucket_of(value), 0) + 1
    return counts


@given(values, st.sampled_from([0.0, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_within_one_percent_of_the_nearest_rank(observed, q):
    exact = sorted(observed)[max(1, math.ceil(q * len(observed))) - 1]

    answer = histogram.percentile(bucketed(observed), q)

    assert abs(answer - exact) <= exact * (histogram.RELATIVE_ACCURACY + 1e-9)


@given(values, values)
def test_merging_is_the_same_as_recording_together(left, right):
    assert histogram.merge([bucketed(left), bucketed(right)]) == bucketed(left + right)


@given(st.floats())  # also those that are none
def test_the_number_of_buckets_is_bounded(value):
    lowest, highest = histogram.bucket_of(0), histogram.bucket_of(1e12)

    assert lowest <= histogram.bucket_of(value) <= highest
    assert highest - lowest < 1_400


def test_no_observation_has_no_percentile():
    assert histogram.percentile({}, 0.5) is None
