import os
import socket
from pathlib import Path

import pytest

from spectrum.kernel.filter.attaching import load
from spectrum.kernel.pins import DEFAULT_FILESYSTEM, folder_of
from spectrum.simulation.network import (
    CLIENT_LINK,
    EDGE_LINK,
    TrialNetwork,
    TrialNetworkError,
    edge_addresses,
    entered,
    link_address,
)

NAME = f"spt{os.getpid() % 100000}"


@pytest.fixture
def network(require):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    with TrialNetwork(NAME) as made:
        yield made
    assert not Path("/run/netns", NAME).exists()
    made.remove()


def test_two_namespaces_and_a_cable(network):
    for address in map(str, edge_addresses()):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with entered(network.edge):
            listener = socket.create_server((address, 7000), family=family)
        with listener, entered(network.clients):
            socket.create_connection((address, 7000), 5).close()
    addresses = network.link_addresses()
    assert len(addresses) == 12 and addresses[:6] != addresses[6:]
    with entered(network.clients):
        assert link_address(CLIENT_LINK) == addresses[6:]
        assert link_address("lo") == bytes(6)
    with pytest.raises(TrialNetworkError, match="does not exist"):
        link_address(CLIENT_LINK)  # not in ours
    with pytest.raises(TrialNetworkError, match="is there already"):
        TrialNetwork(NAME)


def test_nothing_that_was_pinned_in_its_namespaces_stays(network):
    """A later namespace may have the number of one of them, and would go on with its flows, rules and lists."""
    folders = []
    for namespace, link in ((network.edge, EDGE_LINK), (network.clients, CLIENT_LINK)):
        with entered(namespace):
            load([link])
            folders.append(folder_of(DEFAULT_FILESYSTEM))
    assert all(map(Path.exists, folders))
    network.remove()
    assert not any(map(Path.exists, folders))


def test_a_namespace_that_is_not_there():
    with pytest.raises(TrialNetworkError, match="nobody"), entered("nobody"):
        pass


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a/b", "'a/b'"), ("..", "'..'"), ("-h", "'-h'"), ("", "''"), ("n" * 248, r"'n{40}\.\.\. \(248 characters\)'")],
    ids=["a slash", "a folder", "an option", "nothing", "too long"],
)
def test_a_name_that_cannot_be_had(name, shown):
    with pytest.raises(TrialNetworkError, match=f"no namespace is called {shown}: at most 247 letters"):
        TrialNetwork(name)


def test_the_longest_name(require):
    require("ip")
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    with TrialNetwork((NAME + "n" * 250)[:247]) as made:
        assert Path("/run/netns", made.clients).exists()


def test_without_iproute2(monkeypatch):
    monkeypatch.setattr("spectrum.simulation.network._PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TrialNetworkError, match="iproute2"):
        TrialNetwork("any")
