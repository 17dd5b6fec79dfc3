from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, SummaryMetricFamily

from spectrum.control.http.exposition import Family, HistogramFamily, SummaryFamily, label

VALUES = st.integers(-(2**63), 2**63) | st.floats(allow_nan=False)


class Only:
    def __init__(self, metric):
        self.metric = metric

    def collect(self):
        yield self.metric


def theirs(metric):
    return generate_latest(Only(metric))


@given(st.text(), st.text(), VALUES)
def test_a_sample_is_what_prometheus_client_writes(one, two, value):
    counter = CounterMetricFamily("a", "What it is", labels=["one", "two"])
    counter.add_metric([one, two], value)
    mine = Family("a_total", "What it is", "counter")
    mine.add(f"{label('one', one)},{label('two', two)}", value)
    assert mine.head + mine.take() == theirs(counter)
    assert mine.take() == b""


def test_a_gauge():
    gauge = GaugeMetricFamily("a", "What it is", labels=["one"])
    gauge.add_metric(["x"], True)
    mine = Family("a", "What it is", "gauge")
    mine.add(label("one", "x"), True)
    assert mine.head + mine.take() == theirs(gauge)


@given(st.lists(st.integers(0, 2**40), min_size=3, max_size=3), st.floats(0, allow_infinity=False))
def test_a_histogram(counts, total):
    histogram = HistogramMetricFamily("a", "What it is", labels=["app"])
    one, two, three = counts
    histogram.add_metric(["x"], [("0.1", one), ("2.5", one + two), ("+Inf", one + two + three)], total)
    mine = HistogramFamily("a", "What it is", (0.1, 2.5))
    mine.observe(label("app", "x"), counts, total)
    assert mine.head + mine.take() == theirs(histogram)


def test_a_summary():
    summary = SummaryMetricFamily("a", "What it is", labels=["app"])
    summary.add_metric(["x"], count_value=3, sum_value=0.5)
    mine = SummaryFamily("a", "What it is")
    mine.observe(label("app", "x"), 3, 0.5)
    assert mine.head + mine.take() == theirs(summary)
