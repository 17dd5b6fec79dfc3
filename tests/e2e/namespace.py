"""A second host on this machine: a network namespace, and a cable (veth) to it."""

import subprocess
import sys

EDGE, FAR = "10.231.77.1", "10.231.77.2"


def ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True, timeout=20)


class Namespace:
    """The far end of a cable: a host of its own, at 10.231.`number`.2; our end is .1."""

    def __init__(self, name, number=77):
        self.name = name
        self.near = f"{name}a"
        self.edge, self.far = f"10.231.{number}.1", f"10.231.{number}.2"
        ip("netns", "add", name)
        try:
            ip("link", "add", self.near, "type", "veth", "peer", "name", "far", "netns", name)
            ip("address", "add", f"{self.edge}/24", "dev", self.near)
            ip("link", "set", self.near, "up")
            ip("-n", name, "address", "add", f"{self.far}/24", "dev", "far")
            ip("-n", name, "link", "set", "far", "up")
            ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.close()
            raise

    def run(self, script, *arguments):
        """Start a Python script there."""
        command = ["ip", "netns", "exec", self.name, sys.executable, "-c", script, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, script, *arguments, timeout_s=30):
        """Run a Python script there to its end, and return what it printed."""
        process = self.run(script, *arguments)
        printed, _ = process.communicate(timeout=timeout_s)
        assert process.returncode == 0, printed
        return printed

    def unplug(self):
        """Take the far end down; nobody is told."""
        ip("-n", self.name, "link", "set", "far", "down")

    def close(self):
        # The cable first: the kernel frees a namespace's devices some time after its name.
        for what in (["link", "delete", self.near], ["netns", "delete", self.name]):
            subprocess.run(["ip", *what], capture_output=True, timeout=20, check=False)
