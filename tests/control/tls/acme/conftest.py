import pytest

from tests.acme_server import AcmeServer, names, ports_are_free


@pytest.fixture(autouse=True)
def library():
    """The extra: without it a configuration with certificates by ACME is refused."""
    pytest.importorskip("acme")


@pytest.fixture(scope="module")
def tsig(tmp_path_factory):
    """The key of a name server for example.org."""
    if not ports_are_free():
        pytest.skip("ports 53, 80 and 443 cannot be had; run with --numprocesses as root")
    with names(tmp_path_factory.mktemp("names")) as key:
        yield key


@pytest.fixture(scope="module")
def ca(tsig, tmp_path_factory):
    """An ACME server."""
    pytest.importorskip("acme2certifier")
    with AcmeServer(tmp_path_factory.mktemp("ca")) as server:
        yield server
