import pytest

from spectrum.core.configuration.config import Config
from tests.core.configuration.checking import TCP, UDP, app, faults


@pytest.mark.parametrize(
    ("one", "path"),
    [
        (app(*UDP, limits={"sessions": 1}), ("limits", "sessions")),
        (app(*TCP, limits={"client": {"flows": 1}}), ("limits", "client", "flows")),
        (app(*UDP, limits={"action": "delay"}), ("limits", "action")),
        (app(*TCP, limits={"action": "delay"}), None),
        (app(*TCP, limits={"datagrams_per_second": 5}), ("limits", "datagrams_per_second")),
        (app(*UDP, limits={"client": {"datagrams_per_second": 5, "bytes_per_second": "1MB"}}), None),
        (app(*TCP, limits={"sessions": 5, "client": {"new_per_second": 1}}), None),
    ],
)
def test_faults_of_an_app(one, path):
    assert [fault.path for fault in faults({"a": one})] == ([("apps", "a", *path)] if path else [])


@pytest.mark.parametrize(("workers", "memory", "fault"), [(4, 2**22, False), (5, 2**22, True), (0, 2**20, False)])
def test_each_worker_has_memory_for_a_read(workers, memory, fault):
    settings = Config.model_validate({"limits": {"memory": memory}, "workers": workers or "auto"})
    found = faults({"a": app(*TCP)}, limits=settings.limits, workers=workers or "auto")
    assert [one.path for one in found] == ([("limits", "memory")] if fault else [])
