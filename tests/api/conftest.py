import pytest

from tests.api.serving import Api

FILE = {
    "accounts": {"acme": {}, "other": {"name": "The Other"}},
    "zones": {"example.com": {}, "example.net": {"account": "other"}},
    "apps": {
        "ssh.example.com": {"protocol": "tcp/22", "dns": {"type": "CNAME", "name": "ssh.example.com"}},
        "game": {"protocol": "udp/53", "zone": "example.net"},
    },
    "certificates": {"of-file": {"certificate": "/c.pem", "key": "/c.key", "zone": "example.com"}},
}


@pytest.fixture
async def api(tmp_path):
    async with Api(tmp_path, FILE) as running:
        yield running
