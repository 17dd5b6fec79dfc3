"""scripts/wheels: what it builds is whole, the same each time, and needs no compiler where it is installed."""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile

from packaging.requirements import Requirement

from spectrum import __version__
from tests.engine.harness import eventually
from tests.packages.conftest import ROOT

# What compiled modules are linked with, and what they may need of glibc: that of the platform in the wheels' names.
LINKED = {"libc.so.6", "libm.so.6", "ld-linux-aarch64.so.1", "libpthread.so.0", "libssl.so.3", "libcrypto.so.3"}
GLIBC = (2, 34)
OWN_TAG = f"cp{sys.version_info[0]}{sys.version_info[1]}"
CONFIGURATION = """
apps:
  app: {{protocol: tcp/{edge}, edge_ips: [127.0.0.1], origin_direct: ["tcp://127.0.0.1:{origin}"], proxy_protocol: v2}}
"""


def test_hashes(built):
    built("*.whl")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=ROOT / "dist", check=True)


def test_platform(built, require, tmp_path):
    """The names promise a glibc; and nothing is copied into the wheel that the system has to update."""
    require("readelf")
    for wheel in built("*.whl"):
        assert re.fullmatch(r"spectrum_edge-[\d.]+-(cp3\d+)-\1-manylinux_2_34_\w+\.whl", wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            modules = [name for name in archive.namelist() if name.endswith(".so")]
            archive.extractall(tmp_path, modules)
            assert not [name for name in archive.namelist() if ".libs/" in name]
        for module in modules:
            text = subprocess.run(
                ["readelf", "--wide", "--dynamic", "--version-info", tmp_path / module],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            assert set(re.findall(r"\(NEEDED\).*\[(.+)\]", text)) <= LINKED
            assert max(tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", text)) <= GLIBC


def test_the_same_source_gives_the_same_bytes(built, tmp_path):
    """Elsewhere, later, by somebody who has the sdist and its time."""
    (sdist,) = built("*.tar.gz")
    (wheel,) = built(f"*-{OWN_TAG}-*_{platform.machine()}.whl")
    with tarfile.open(sdist) as archive:
        # Python 3.11.4 and later have filters; Debian 12 has an earlier one.
        archive.extractall(tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (source,) = tmp_path.iterdir()
    epoch = str(int((source / "pyproject.toml").stat().st_mtime))
    for path in source.rglob("*"):
        os.utime(path)
    subprocess.run(
        [ROOT / "scripts/wheel", sys.executable, source, tmp_path / "out"],
        check=True,
        env=os.environ | {"SOURCE_DATE_EPOCH": epoch},
    )
    assert (tmp_path / "out" / wheel.name).read_bytes() == wheel.read_bytes()


def test_list_of_parts(built):
    """It names what requirements/run.txt pins, with versions, and nothing else."""
    (path,) = built("*.cdx.json")
    bom = json.loads(path.read_text())
    assert bom["bomFormat"] == "CycloneDX"
    assert (bom["metadata"]["component"]["name"], bom["metadata"]["component"]["version"]) == (
        "spectrum-edge",
        __version__,
    )
    lines = re.findall(r"^[\w.-]+==[^\\\n]+", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE)
    pins = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    wanted = {(pin.name, str(pin.specifier).removeprefix("==")) for pin in pins}
    assert {(part["name"].lower().replace("_", "-"), part["version"]) for part in bom["components"]} == wanted
    assert all(part["licenses"] for part in bom["components"])


def test_it_serves_where_there_is_no_compiler(built, root, free_port):
    """Without a network either: what run.txt pins was downloaded before."""
    (wheel,) = built(f"*-cp311-*_{platform.machine()}.whl")
    house = ROOT / "build/wheels/house"
    for compiler in ("cc", "gcc", "cython", "make"):
        assert not (root.path / "usr/bin" / compiler).exists()
    shutil.copytree(house, root.path / "tmp/house")
    shutil.copy(wheel, root.path / "tmp")
    shutil.copy(ROOT / "dist/run.txt", root.path / "tmp")
    root.run("python3", "-m", "venv", "/opt/spectrum")
    pip = ("/opt/spectrum/bin/pip", "install", "--no-index", "--no-compile")
    root.run(*pip, "--find-links", "/tmp/house", "--require-hashes", "-r", "/tmp/run.txt")
    root.run(*pip, "--no-deps", f"/tmp/{wheel.name}")
    serve(root, "/opt/spectrum/bin/spectrum", free_port(), free_port())


def serve(root, spectrum: str, edge: int, origin: int) -> None:
    """Run the daemon in a root, and have a client's address told by the example origin behind it."""
    (root.path / "tmp/spectrum.yaml").write_text(CONFIGURATION.format(edge=edge, origin=origin))
    daemon = subprocess.Popen(root.command(spectrum, "run", "-c", "/tmp/spectrum.yaml"), stderr=subprocess.DEVNULL)
    server = subprocess.Popen(root.command(spectrum, "origin", "--tcp", f"127.0.0.1:{origin}"))
    try:
        eventually(lambda: b"you are 127.0.0.1:" in answer(edge), 60)
        assert "serving" in root.run(spectrum, "status")
    finally:
        daemon.terminate()
        server.terminate()
        assert daemon.wait(60) == 0
        server.wait(60)


def answer(port: int) -> bytes:
    """What the example origin says to a client; nothing where nobody answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(b"hello\n")
            client.shutdown(socket.SHUT_WR)  # what a client leaves unread when it closes makes a reset of it
            with client.makefile("rb") as file:
                return file.read()
    except OSError:
        return b""


def test_pins_of_serving_are_among_those_of_developing():
    """What was tested is what is installed."""
    names = ("run.txt", "build.txt", "dev.txt")
    run, build, dev = (
        set(re.findall(r"^[\w.-]+==\S+", (ROOT / "requirements" / name).read_text(), re.MULTILINE)) for name in names
    )
    assert run <= dev
    assert build <= dev


def test_every_dependency_is_pinned():
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements/run.txt").read_text(), re.MULTILINE))
    text = (ROOT / "pyproject.toml").read_text()
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert {name.lower() for name in re.findall(r'"([\w.-]+)', block)} <= pinned
