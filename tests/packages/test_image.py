"""scripts/check-image, with podman, in namespaces of its own: the image as docs/container.md runs it."""

import os
import resource
import subprocess

import pytest

from tests.packages.conftest import ROOT

# crun takes one hierarchy of control groups, and no mixture of both versions.
ISOLATED = "umount --lazy /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "


def limits() -> str:
    """Return options for limits that may be set without CAP_SYS_RESOURCE: not above the test's own."""
    found = {"nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "nproc": (1000, 1000)}
    return " ".join(f"--ulimit {name}={soft}:{hard}" for name, (soft, hard) in found.items())


def test_image(require):
    require("podman", "crun", "conmon")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    if subprocess.run(["podman", "image", "exists", "spectrum-edge"]).returncode:
        if os.environ.get("CI"):
            pytest.fail("not built by .ci/run: the image spectrum-edge")
        pytest.skip("not built: scripts/image")
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", ISOLATED + str(ROOT / "scripts/check-image")],
        env=os.environ
        | {
            "CONTAINER": "podman --runtime crun --cgroup-manager cgroupfs",
            "OPTIONS": f"--network none --cgroups disabled {limits()}",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("check-image: no finding\n")
