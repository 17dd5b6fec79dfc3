import pytest

from spectrum.api.catalogue import ObjectFault
from tests.api.routes.calls import APPS, OTHER_ZONE, app, refused

GAME = {
    "protocol": "udp/53",
    "dns": {"type": "CNAME", "name": "x.example.net"},
    "origin_direct": ["udp://192.0.2.1:53"],
}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("0.0.0.0:22 is taken by app ssh.example.com", "0.0.0.0:22 is taken by app (of another account)"),
        ("known here: game, ssh.example.com.", "known here: game, (of another account)."),
        ("tcp/22 is udp", "tcp/22 is udp"),
    ],
)
async def test_names_of_another_account_are_not_told(api, message, told):
    api.daemon.refused["x.example.net"] = [ObjectFault(("apps", "x.example.net", "protocol"), message)]
    async with api.client() as client:
        assert (await refused(client, "POST", f"{OTHER_ZONE}/spectrum/apps", GAME))[2] == told


async def test_one_s_own_are_told(api):
    api.daemon.refused["a.example.com"] = [ObjectFault(("apps", "ssh.example.com"), "app ssh.example.com is taken")]
    async with api.client() as client:
        assert await refused(client, "POST", APPS, app()) == (
            400,
            10012,
            "apps ssh.example.com: app ssh.example.com is taken",
            None,
        )
