import json
import os

import pytest
from click.testing import CliRunner

from spectrum.cli import ddos_simulate
from spectrum.cli.commands import main

FILE = """
filter:
  interfaces: [eth0]
  guard: [10.99.0.0/24]
  rules:
    watched: {protocol: udp, action: log}
    plain: {protocol: udp, destination_port: 7000, length: 540}
apps:
  game: {protocol: udp/7000, origin_direct: ['udp://127.0.0.1:7100']}
"""
WEB = "  web: {protocol: tcp/7001, origin_direct: ['tcp://127.0.0.1:7101']}\n"


@pytest.fixture
def simulate(tmp_path, monkeypatch):
    monkeypatch.setattr(ddos_simulate, "QUIET_S", 0.4)
    monkeypatch.setattr(ddos_simulate, "AFTER_S", 0.3)
    path = tmp_path / "edge.yaml"
    path.write_text(FILE)

    def run(*arguments, text=FILE):
        path.write_text(text)
        return CliRunner().invoke(main, ["ddos", "simulate", *map(str, arguments), "-c", str(path)])

    return run


def test_the_attacks(simulate):
    printed = simulate("--list").output.split()
    assert {"udp_random", "syn_os", "carpet"} <= set(printed) and len(printed) > 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name an attack"),
        (("udp_fixed",), "name an attack"),
        (("udp_fixed", "--app", "game", "--loopback", "--namespace", "x"), "either"),
        (("udp_fixd", "--app", "game"), 'called "udp_fixd"; did you mean "udp_fixed"?; --list'),
        (("udp_fixed", "--app", "gam"), 'no app "gam"'),
        (("udp_fixed", "--app", "game", "--interface", "eth0"), "No such option"),
    ],
)
def test_refusals(simulate, arguments, said):
    done = simulate(*arguments)
    assert done.exit_code and said in done.output + done.stderr, done.output


def test_missing_permissions(simulate, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "it needs root" in simulate("udp_fixed", "--app", "game").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FILE, "add lo to filter.interfaces"),
        (FILE.replace("eth0", "lo").replace("10.99.0.0/24", "127.0.0.0/8"), "filter.guard contains the loopback"),
        (FILE.replace("eth0", "lo").replace("10.99.0.0/24", "0.0.0.0/0"), "filter.guard contains the loopback"),
        (FILE.replace("eth0", "lo"), "no daemon answers"),
    ],
)
def test_a_loopback_that_nothing_protects(simulate, text, said, require, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("it needs root")
    text += f"control: {{socket: {tmp_path}/control.sock}}\n"
    done = simulate("udp_fixed", "--app", "game", "--loopback", text=text)
    assert done.exit_code == 1 and said in done.stderr


def test_a_trial(simulate, require):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    name = f"sps{os.getpid() % 100000}"
    asked = ("udp_fixed", "--app", "game", "--rate", 20_000, "--seconds", 1.2, "--namespace", name)
    done = simulate(*asked)
    assert done.exit_code == 0, done.stderr
    assert "mitigated by rule plain" in done.output and "% dropped" in done.output
    assert "of new sessions failed" in done.output
    assert "\ndetection: off: there is no `ddos` in the file\n" in done.output


def test_as_json_of_what_nothing_stops(simulate, require):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    name = f"spj{os.getpid() % 100000}"
    done = simulate("syn_os", "--app", "game", "--rate", 5_000, "--seconds", 0.6, "--namespace", name, "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.output)
    assert told["mitigated_after"] is None and told["sent"] > 100 and told["attacks"] == []
    assert told["good"]["opened"] > 0
    assert told["detection"] == "off: there is no `ddos` in the file"


def test_without_a_filter_workers_refuse_what_they_can(simulate, require, monkeypatch):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    monkeypatch.setattr(ddos_simulate, "QUIET_S", 3.0)
    text = FILE[FILE.index("apps:") :] + "ddos: {}\n"
    name = f"spw{os.getpid() % 100000}"
    asked = ("udp_fixed", "--app", "game", "--rate", 8_000, "--seconds", 6, "--namespace", name)
    done = simulate(*asked, text=text)
    assert done.exit_code == 0, done.stderr
    assert "\ndetection: on" in done.output or "\ndetection: learning" in done.output
    assert "mitigated after" in done.output and "by rule ddos/" in done.output
    assert "0 sessions broken" in done.output
    done = simulate(
        "syn_os",
        "--app",
        "web",
        "--rate",
        3_000,
        "--seconds",
        0.5,
        "--namespace",
        name,
        text=FILE[FILE.index("apps:") :] + WEB + "ddos: {}\n",
    )
    assert done.exit_code == 0 and "only connections are seen" in done.output


def test_neither_a_filter_nor_detection(simulate, require):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    done = simulate("udp_fixed", "--app", "game", text=FILE[FILE.index("apps:") :])
    assert done.exit_code == 1 and "neither filter nor ddos" in done.stderr
