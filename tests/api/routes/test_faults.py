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
        (
            "x.example.net with udp/53 is app ssh.example.com already",
            "x.example.net with udp/53 is app (of another account) already",
        ),
        ('no pool "eu"; did you mean "ssh.example.com"?', 'no pool "eu"'),
        ("no zone; known here: example.com, example.net", "no zone"),
        ("monitor m belongs to account acme.", "monitor m belongs to account (of another account)."),
        (
            "app game is this account's; zone example.com is not",
            "app game is this account's; zone (of another account) is not",
        ),
        # What a client wrote is not told to be anybody's: it would be a way to guess.
        ("ssh.example.com is not in zone example.net", "ssh.example.com is not in zone example.net"),
    ],
)
async def test_names_of_another_account_are_hidden(api, message, told):
    api.daemon.refused["x.example.net"] = [ObjectFault(("apps", "x.example.net", "protocol"), message)]
    async with api.client() as client:
        assert (await refused(client, "POST", f"{OTHER_ZONE}/spectrum/apps", GAME))[2] == told


async def test_names_of_the_own_account_are_shown(api):
    api.daemon.refused["a.example.com"] = [ObjectFault(("apps", "ssh.example.com"), "app ssh.example.com is taken")]
    async with api.client() as client:
        assert await refused(client, "POST", APPS, app()) == (
            400,
            10012,
            "apps ssh.example.com: app ssh.example.com is taken",
            None,
        )


async def test_a_failure_of_the_machine_is_no_fault_of_the_body(api):
    api.daemon.refused["a.example.com"] = [ObjectFault((), "the kernel refuses")]
    async with api.client() as client:
        assert await refused(client, "POST", APPS, app()) == (503, 10002, "the kernel refuses", None)
        answer = await client.post(APPS, json=app())
    assert answer.headers["x-should-retry"] == "false"


async def test_what_the_machine_refuses_is_told_at_its_place(api):
    place = ("apps", "a.example.com", "edge_ips", 0)
    api.daemon.refused["a.example.com"] = [ObjectFault(place, "not an address of this machine")]
    async with api.client() as client:
        told = await refused(client, "POST", APPS, STATIC)
    assert told == (400, 11019, "not an address of this machine", "/edge_ips/ips/0")


STATIC = app(
    dns={"type": "ADDRESS", "name": "a.example.com"}, edge_ips={"type": "static", "ips": ["192.0.2.7"]}, port=53
)


@pytest.mark.parametrize(
    ("place", "taken_by", "body", "code", "pointer"),
    [
        (("apps", "a.example.com", "protocol"), "game", STATIC, 11033, "/edge_ips"),
        (("apps", "a.example.com", "protocol"), "ssh.example.com", STATIC, 13002, "/protocol"),
        (("apps", "a.example.com", "protocol"), "game", app(), 13002, "/protocol"),
        (("api", "listen"), "a.example.com", STATIC, 13002, "/protocol"),
        (("apps", "game", "protocol"), "a.example.com", STATIC, 13002, "/protocol"),
        (("api", "listen"), "game", STATIC, 10012, None),
    ],
)
async def test_a_port_that_is_taken(api, place, taken_by, body, code, pointer):
    api.daemon.refused["a.example.com"] = [ObjectFault(place, "it is taken", taken_by)]
    async with api.client() as client:
        status, told, message, where = await refused(client, "POST", APPS, body)
    assert (status, told, where) == (400, code, pointer)
    assert message.endswith("it is taken")


async def test_faults_of_another_s_objects_do_not_name_them(api):
    api.daemon.refused["x.example.net"] = [ObjectFault(("apps", "ssh.example.com", "protocol"), "taken")]
    async with api.client() as client:
        told = await refused(client, "POST", f"{OTHER_ZONE}/spectrum/apps", GAME)
    assert told == (400, 10012, "apps (of another account): taken", None)
