from tests.api.serving import Api


async def test_addresses_of_apps_that_may_be_read(tmp_path):
    file = {
        "accounts": {"acme": {}, "other": {}},
        "zones": {"example.com": {}, "example.net": {"account": "other"}},
        "apps": {
            "a": {"zone": "example.com", "edge_ips": ["192.0.2.1", "2001:db8::1"]},
            "b": {"zone": "example.net", "edge_ips": {"type": "static", "ips": ["192.0.2.2"]}},
            "c": {"zone": "example.com"},
        },
    }
    async with Api(tmp_path, file) as api:
        found = (await api.client().get("/ips")).json()["result"]
        assert found["ipv4_cidrs"] == ["192.0.2.1/32", "192.0.2.2/32"] and found["ipv6_cidrs"] == ["2001:db8::1/128"]
        sdk = api.sdk(await api.token("apps:read", accounts=["other"]))
        assert (await sdk.ips.list()).ipv4_cidrs == ["192.0.2.2/32"]
