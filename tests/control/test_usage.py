from spectrum.control.usage import Usage, usage_metrics, usage_of_processes, usage_report
from spectrum.kernel.usage import ProcessUsage
from tests.control.http.scraping import samples


def test_what_is_nearest_to_its_limit_is_first():
    usages = [Usage("flows", "a", 1, 4, "x"), Usage("sessions", "node", 9, 10, "y"), Usage("memory", "node", 0, 0, "z")]
    report = usage_report(usages)
    assert [(one["limit"], one["share"]) for one in report] == [("memory", 1.0), ("sessions", 0.9), ("flows", 0.25)]
    assert report[1] == {"limit": "sessions", "of": "node", "used": 9, "maximum": 10, "setting": "y", "share": 0.9}


async def test_metrics_are_pairs():
    found = samples(b"".join(await usage_metrics([Usage("flows", f"a{n}", n, 4, "x") for n in range(500)])))
    assert len(found) == 1000
    assert found["spectrum_limit", ("limit", "flows"), ("of", "a7")] == 4
    assert found["spectrum_limit_used", ("limit", "flows"), ("of", "a7")] == 7


def test_descriptors_of_processes():
    known = ProcessUsage(1, 2, 3.0, 4.0, 5, 6)
    hidden = ProcessUsage(1, 2, 3.0, 4.0, None, 6)
    assert list(usage_of_processes({"worker-0": known, "helper": hidden})) == [
        Usage("descriptors", "worker-0", 5, 6, "LimitNOFILE=, ulimit -n")
    ]
