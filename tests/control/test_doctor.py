"""What the daemon says of its machine; what `spectrum doctor` prints is in tests/cli/test_doctor.py."""

import pytest

from spectrum.control import doctor as module
from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.doctor import DoctorActor, examine, is_there
from spectrum.control.http.resource import ResourceRequest
from spectrum.core.transparent import requirements
from tests.control.plans import first

PLAIN = "apps: {x: {protocol: tcp/7000, origin_direct: ['tcp://127.0.0.1:22']}}"
TRANSPARENT = PLAIN.replace("protocol", "source: client, protocol")


async def examined(text):
    served = Served(load_text(text, "f"))
    await served.commit(first(text))
    (resource,) = DoctorActor(served).resources()
    return await resource.answer(ResourceRequest({}))


async def test_most_files_need_nothing():
    assert examine(load_text(PLAIN, "f")) == []
    assert await examined(PLAIN) == {"findings": [], "not_looked": []}


async def test_what_is_missing(monkeypatch):
    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    found = await examined(TRANSPARENT)
    missing = next(one for one in found["findings"] if one["title"].startswith("IPv4: a table"))
    assert (missing["verified"], missing["remedy"][:6]) == (False, "ip rou")
    assert found["not_looked"] == []


async def test_another_user_may_not_look(monkeypatch):
    monkeypatch.setattr(module.os, "geteuid", lambda: 1000)
    found = await examined(TRANSPARENT)
    assert (found["findings"], found["not_looked"][0][:13]) == ([], "IPv4: a table")


def test_a_program_that_is_missing_finds_nothing(monkeypatch):
    monkeypatch.setattr("spectrum.kernel.transparent._PATH", "/nowhere")
    need = requirements(load_text(TRANSPARENT, "f"), ())[0]
    assert not is_there(need)


@pytest.mark.parametrize(("ports", "first"), [("tcp/443", 443), ("udp/500-2000", 500)])
@pytest.mark.parametrize("may", [True, False])
def test_low_ports_are_for_whom_the_machine_lets(ports, first, may, monkeypatch):
    monkeypatch.setattr(module, "may_bind", lambda port: may)
    transport, _, numbers = ports.partition("/")
    other = f"web: {{protocol: {ports}, origin_direct: ['{transport}://192.0.2.1:{numbers}']}}"
    (finding,) = examine(load_text(f"{PLAIN[:-1]}, {other}}}", "f"))
    assert (finding.verified, finding.title) == (may, f"this user may listen on port {first} (app web)")
    assert f"net.ipv4.ip_unprivileged_port_start={first}" in finding.remedy


def test_room_for_analytics(tmp_path):
    store = f"api: {{user: nobody}}\nanalytics: {{store: {tmp_path}/store, max_bytes: 64MiB}}\n{PLAIN}"
    (finding,) = examine(load_text(store, "f"))
    assert (finding.verified, finding.title) == (True, f"analytics: {tmp_path} has room for 64 MiB")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file").write_bytes(b"x" * 1000)
    (finding,) = examine(load_text(store.replace("64MiB", "1000000GiB"), "f"))
    assert not finding.verified and finding.title.startswith(f"analytics: {tmp_path}/store has room for")
