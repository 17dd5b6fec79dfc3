import re
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from spectrum import control
from spectrum.control.configuration.actor import Actor
from spectrum.control.http.exporter import Exporter, NodeState
from spectrum.control.http.exposition import Family
from spectrum.control.records.totals import Totals
from spectrum.core.records.measures import WorkerMeasures
from tests.control.http.scraping import samples

NOTHING = ({}, [])


async def test_metrics():
    totals, state = Totals(), NodeState()
    totals.add(0, {}, WorkerMeasures(3, 0.5, 2, 4))
    state.workers_ready = 2
    state.listeners_deaf = 5
    found = samples(await Exporter(totals, state).render(*NOTHING))
    assert found["spectrum_accept_stalls_total",] == 3
    assert found["spectrum_busy_poll_seconds_total",] == 0.5
    assert found["spectrum_events_dropped_total",] == 2
    assert found["spectrum_listeners_mended_total",] == 4
    assert found["spectrum_listeners_deaf",] == 5
    assert found["spectrum_workers_ready",] == 2
    assert found["spectrum_config_last_reload_successful",] == 1


async def test_open_metrics():
    class Text(Actor):
        async def metrics(self):
            family = Family("b_total", "B", "counter")
            family.add('app="_total "', 3)
            return [family.head, family.take()]

    exporter = Exporter(Totals(), NodeState(), [Text()])
    page = await exporter.render(*NOTHING, is_open=True)
    families = {family.name: family for family in openmetrics(page.decode())}
    assert families["b"].type == families["spectrum_accept_stalls"].type == "counter"
    assert [(s.name, s.labels, s.value) for s in families["b"].samples] == [("b_total", {"app": "_total "}, 3)]
    assert page.endswith(b"# EOF\n")


async def test_what_features_have():
    class Families(Actor):
        async def metrics(self):
            return (GaugeMetricFamily("a", "A family", value=value) for value in (1,))

    class Text(Actor):
        async def metrics(self):
            return [b"# HELP b B\n# TYPE b gauge\n", b"b 2.0\n"]

    page = await Exporter(Totals(), NodeState(), [Actor(), Families(), Text()]).render(*NOTHING)
    assert (samples(page)["a",], samples(page)["b",]) == (1, 2)


def test_every_metric_is_in_the_docs():
    folder = Path(control.__file__).parent
    names = {
        name for path in folder.rglob("*.py") for name in re.findall('"((?:spectrum|process)_\\w+)"', path.read_text())
    }
    documented = "".join(path.read_text() for path in (Path(__file__).parents[3] / "docs").glob("*.md"))
    assert len(names) > 50
    spelled = {name: {f"`{name}{suffix}`" for suffix in ("", "_total", "_info")} for name in names}
    assert [name for name, ways in spelled.items() if not any(way in documented for way in ways)] == []
