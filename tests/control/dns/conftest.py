import pytest

from tests.acme_server import names, ports_are_free
from tests.name_servers import NameServer


@pytest.fixture(scope="module")
def tsig(tmp_path_factory):
    """The key of a name server for example.org at port 53."""
    if not ports_are_free():
        pytest.skip("ports 53, 80 and 443 cannot be had; run with --numprocesses as root")
    with names(tmp_path_factory.mktemp("names")) as key:
        yield key


@pytest.fixture(params=["knot", "bind"])
def server(request, require, tmp_path, free_port):
    """A name server for example.org."""
    require({"knot": "knotd", "bind": "named"}[request.param])
    with NameServer(tmp_path / "names", request.param, free_port()) as running:
        yield running
