"""A configuration goes from a file into the store of a daemon and back into a file, by the commands that people use."""

import tempfile
from pathlib import Path

import pytest

from spectrum.control.configuration.export import importable
from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon
from tests.engine.harness import eventually

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

TEXT = """
accounts: {default: {}, acme: {}}
zones: {a.example: {account: acme}}
monitors: {m: {type: http, header: {Authorization: ["Bearer s3cret"]}, account: acme}}
pools: {p: {origins: [{name: o, address: 192.0.2.1, port: 80}], monitor: m, account: acme}}
load_balancers: {l: {default_pools: [p], account: acme}}
lists: {bad: {kind: ip, items: [192.0.2.0/24, {ip: 198.51.100.7, comment: "at $5"}]}}
access_rules: {r: {target: ip, list: bad, action: block}}
apps:
  b: {protocol: tcp/%d, edge_ips: [127.0.0.1], load_balancer: l, dns: {name: b.a.example}, ip_firewall: true}
"""


@pytest.fixture
def folder():
    """A folder that any user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_there_and_back(folder, free_port):
    api, store = folder / "api.sock", folder / "store"
    text = (
        f"api: {{store: {store}, user: nobody, listen: 'unix:{folder}/public.sock'}}\n"
        f"apps: {{a: {{protocol: tcp/{free_port()}, edge_ips: [127.0.0.1], origin_direct: ['tcp://127.0.0.1:1']}}}}\n"
    )
    given, back = folder / "given.yaml", folder / "back.yaml"
    given.write_text(TEXT % free_port())
    with Daemon(folder, text) as daemon:
        eventually(lambda: spectrum("token", "list", "--api-socket", api).exit_code == 0, 20)
        made = spectrum("token", "create", "deploy", "--permission", "apps:edit", "--api-socket", api)
        assert made.stdout.startswith("sp_")
        done = spectrum("import", "--api-socket", api, given)
        assert done.stdout == "9 created, 0 updated, 0 unchanged\n", done.output
        assert sorted(one["name"] for one in daemon.status()["apps"]) == ["a", "b"]
        given.write_text(given.read_text().replace("default_pools: [p]", "default_pools: [q]"))
        done = spectrum("import", "--api-socket", api, given)
        assert 'load_balancers.l.default_pools.0: no pool "q"' in done.stderr
        done = spectrum("export", "-c", daemon.path, "-o", back)
        assert "SPECTRUM_SECRET_MONITORS_M_AUTHORIZATION" in done.stderr
        assert "s3cret" not in back.read_text()
        assert spectrum("export", "-c", daemon.path, "--secrets", "-o", back).exit_code == 0
        done = spectrum("import", "--api-socket", api, back)
        assert done.stdout.startswith("0 created, 0 updated, "), done.output
    assert spectrum("check", "-c", back).exit_code == 0
    given.write_text(given.read_text().replace("default_pools: [q]", "default_pools: [p]"))
    wanted, found = importable(given).objects, importable(back).objects
    tokens = found.pop("tokens")
    assert list(tokens) == ["deploy"]
    assert found.pop("apps") == {"a": importable(daemon.path).objects["apps"]["a"], **wanted.pop("apps")}
    assert found == wanted
