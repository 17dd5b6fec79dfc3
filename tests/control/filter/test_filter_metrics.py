from spectrum.control.filter.filter_metrics import filter_metrics
from spectrum.core.filter import Filter

COUNTS = {
    "list bots": (3, 300),
    "rule ddos/x y": (4, 400),
    "passed": (5, 500),
    "samples_lost": (6, 0),
    "looks_lost": (7, 0),
}


def found(settings, counts):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in filter_metrics(settings, counts)
        for sample in family.samples
    }


def test_packets_and_bytes_by_result():
    settings = Filter.model_validate({"interfaces": ["lo"], "guard": ["::/0"], "dry_run": True})
    assert found(settings, COUNTS) == {
        ("spectrum_filter_active",): 1,
        ("spectrum_filter_dry_run",): 1,
        ("spectrum_filter_packets_total", "list", "bots"): 3,
        ("spectrum_filter_packets_total", "rule", "ddos/x y"): 4,
        ("spectrum_filter_packets_total", "passed", ""): 5,
        ("spectrum_filter_bytes_total", "list", "bots"): 300,
        ("spectrum_filter_bytes_total", "rule", "ddos/x y"): 400,
        ("spectrum_filter_bytes_total", "passed", ""): 500,
        ("spectrum_filter_samples_lost_total",): 6,
        ("spectrum_filter_looks_lost_total",): 7,
    }
    assert found(settings, {}).keys() == {("spectrum_filter_active",), ("spectrum_filter_dry_run",)}


def test_without_a_filter():
    assert found(None, {}) == {("spectrum_filter_active",): 0}
