"""What is said; that it is done is in tests/e2e/test_mmproxy.py, in a namespace."""

import json
import os
import subprocess
import sys

import pytest

from spectrum.kernel import libbpf, transparent
from tests.cli.harness import spectrum

APP = "protocol: tcp/7000, origin_direct: ['tcp://127.0.0.1:22']"


def doctor(tmp_path, text, *options):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    return spectrum("doctor", "-c", path, *options)


def test_nothing_to_look_at(tmp_path):
    done = doctor(tmp_path, f"apps: {{x: {{{APP}}}}}")
    assert (done.exit_code, done.output) == (0, "the file has no special requirements\n")


def test_what_is_missing_is_reported_with_its_command(tmp_path):
    done = doctor(tmp_path, f"apps: {{x: {{{APP}, source: client}}}}")
    assert done.exit_code == 1
    assert "MISSING   IPv4: a table in which every address is local" in done.output
    assert "is installed" not in done.output
    assert "ip rule add from 127.0.0.1 iif lo ipproto tcp sport 22 lookup 5350 priority 5350" in done.output


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_what_is_missing_is_made_and_removed(tmp_path):
    (tmp_path / "f.yaml").write_text(f"apps: {{x: {{{APP}, source: client}}}}")
    doctor = f"{sys.executable} -m spectrum doctor -c {tmp_path}/f.yaml"
    script = f"ip link set lo up; for option in --install --install --remove; do {doctor} $option; echo code $?; done"
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    first, again, removed, _ = done.stdout.split("code ")
    assert "MISSING" not in first and "VERIFIED" in first, done.stdout
    assert again.startswith("0\n") and again.removeprefix("0\n") == first, "what is there is not made twice"
    assert removed.count("MISSING") == 2


def test_a_command_that_fails(tmp_path, monkeypatch):
    (tmp_path / "ip").write_text("#!/bin/sh\necho it is broken >&2; exit 3\n")
    (tmp_path / "ip").chmod(0o755)
    monkeypatch.setattr(transparent, "_PATH", str(tmp_path))
    done = doctor(tmp_path, f"apps: {{x: {{{APP}, source: client}}}}", "--install")
    assert (done.exit_code, "it is broken" in done.output) == (1, True)


def test_a_file_with_faults(tmp_path):
    done = doctor(tmp_path, "apps: {}")
    assert done.exit_code == 1
    assert "f.yaml:1:7: apps: expected a mapping" in done.output


@pytest.mark.skipif(os.geteuid() != 0, reason="BPF needs root")
def test_what_is_in_the_kernel(tmp_path, monkeypatch):
    text = (
        f"apps: {{x: {{{APP}, bindings: [{{prefix: 127.7.0.0/24}}]}}}}\n"
        "filter: {interfaces: [lo], guard: ['::1/128']}\nudp_offload: true\n"
    )
    done = doctor(tmp_path, text)
    lines = [f"VERIFIED  {name}: the kernel takes the program" for name in ("bindings", "filter", "udp_offload")]
    assert (done.exit_code, done.output.splitlines()) == (0, lines)
    monkeypatch.setattr(libbpf, "LIBRARY", "libnothing.so")
    libbpf._library.cache_clear()
    done = doctor(tmp_path, text)
    libbpf._library.cache_clear()
    assert done.exit_code == 1
    assert done.output.count("MISSING ") == 3
    assert "libbpf is not on this machine; on Debian: apt-get install libbpf1" in done.output


def test_as_json_and_what_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(transparent, "_PATH", str(tmp_path))
    done = doctor(tmp_path, f"apps: {{x: {{{APP}, bindings: [{{prefix: 192.0.2.0/24}}]}}}}", "--json")
    assert done.exit_code == 1
    findings = {finding["title"]: finding for finding in json.loads(done.output)}
    assert findings["ip is installed"] == {
        "verified": False,
        "title": "ip is installed",
        "remedy": "on Debian: apt-get install iproute2",
    }
    assert findings["packets to 192.0.2.0/24 are treated as local"]["remedy"] == (
        "ip route replace local 192.0.2.0/24 dev lo"
    )
