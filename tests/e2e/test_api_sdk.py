"""An operator's day with Cloudflare's official Python client, its answers validated strictly, on one's own edge."""

import socket
import time
from socket import SOCK_STREAM
from uuid import uuid4

import cloudflare
import pytest
from cloudflare import Cloudflare
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certificates import Authority
from tests.e2e.daemon import Daemon
from tests.e2e.echoes import certificate_at, echoing
from tests.e2e.operator_tools import local_api, make_token
from tests.engine.harness import eventually

# As many as an operator scrolls through; each on an address of its own.
APPS_OF_FILE = 500


def file_with_apps(listen: int) -> str:
    apps = "\n".join(
        f"  app-{i:03}: {{protocol: tcp/7, edge_ips: [127.9.{i // 250}.{i % 250 + 1}], "
        f"dns: {{type: ADDRESS, name: app-{i:03}.example.com}}, origin_direct: ['tcp://192.0.2.1:7']}}"
        for i in range(APPS_OF_FILE)
    )
    api = f"api: {{listen: 127.0.0.1:{listen}, user: nobody}}"
    return f"zones: {{example.com: {{}}}}\n{api}\nlog: {{sessions: false}}\napps:\n{apps}"


@pytest.fixture
def edge(tmp_path, free_port):
    """A daemon of one zone, a client of its API with a token that may everything, and the local API."""
    listen = free_port()
    with Daemon(tmp_path, file_with_apps(listen)) as daemon:
        api = local_api(daemon)
        token = make_token(api, ["Everything Write"], {"com.cloudflare.api.account.*": "*"})
        client = Cloudflare(
            api_token=token,
            base_url=f"http://127.0.0.1:{listen}/client/v4",
            max_retries=0,
            _strict_response_validation=True,
        )
        yield daemon, client
        client.close()
        api.close()


def echo(port: int, text: bytes = b"through the edge") -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(text)
        return client.recv(100)


def fails(status: type[cloudflare.APIStatusError], code: int, pointer: str | None, call, *args, **more) -> str:
    """Check that a call fails as documented; return the message."""
    with pytest.raises(status) as caught:
        call(*args, **more)
    error = caught.value.errors[0]
    assert (error.code, error.source.pointer if error.source else None) == (code, pointer), error
    return error.message


def test_an_operators_day(edge, free_port):
    daemon, client = edge
    # Which account and zone?
    assert client.user.tokens.verify().status == "active"
    (account,) = client.accounts.list()
    (zone,) = client.zones.list(name="example.com")
    assert client.zones.get(zone_id=zone.id).account.id == account.id

    # A monitor, pools, a load balancer, an app: live when the answer comes.
    balancing, of_account, of_zone = client.load_balancers, {"account_id": account.id}, {"zone_id": zone.id}
    first, second = echoing(SOCK_STREAM), echoing(SOCK_STREAM)
    monitor = balancing.monitors.create(
        **of_account, type="tcp", port=0, interval=1, load_balancer_monitor_timeout=1, description="echo"
    )
    origins = [
        {"name": "a", "address": "127.0.0.1", "port": first},
        {"name": "b", "address": "127.0.0.1", "port": second},
    ]
    pool = balancing.pools.create(**of_account, name="echo-1", origins=origins[:1], monitor=monitor.id)
    spare = balancing.pools.create(**of_account, name="echo-2", origins=origins[1:], enabled=False)
    balancer = balancing.create(
        **of_zone, name="lb.example.com", default_pools=[pool.id], fallback_pool=pool.id, session_affinity="ip_cookie"
    )
    port, direct_port = free_port(), free_port()
    app = client.spectrum.apps.create(
        **of_zone,
        protocol=f"tcp/{port}",
        dns={"type": "CNAME", "name": "echo.example.com"},
        origin_dns={"name": "lb.example.com"},
        origin_port=port,
        traffic_type="direct",
    )
    assert echo(port) == b"through the edge"
    direct = client.spectrum.apps.create(
        **of_zone,
        protocol=f"tcp/{direct_port}",
        dns={"type": "CNAME", "name": "direct.example.com"},
        origin_direct=[f"tcp://127.0.0.1:{first}"],
        traffic_type="direct",
        ip_firewall=True,
    )
    assert echo(direct_port) == b"through the edge"

    # All of it can be read back, by id and in lists.
    assert balancing.monitors.get(monitor.id, **of_account) == monitor
    assert [one.id for one in balancing.monitors.list(**of_account)] == [monitor.id]
    assert balancing.pools.get(pool.id, **of_account) == pool
    assert [one.name for one in balancing.pools.list(**of_account)] == ["echo-1", "echo-2"]
    assert [one.id for one in balancing.pools.list(**of_account, monitor=monitor.id)] == [pool.id]
    assert balancing.get(balancer.id, **of_zone) == balancer
    assert [one.zone_name for one in balancing.list(**of_zone)] == ["example.com"]
    assert client.spectrum.apps.get(app.id, **of_zone).to_dict() == app.to_dict()
    assert client.spectrum.apps.get(direct.id, **of_zone).edge_ips.connectivity == "all"
    assert [one.resource_id for one in balancing.pools.references.get(pool.id, **of_account)] == [balancer.id]
    assert [one.resource_id for one in balancing.monitors.references.get(monitor.id, **of_account)] == [pool.id]
    found = balancing.searches.list(**of_account, query="echo", references="referrer").result.resources
    assert {one["resource_name"] for one in found} == {"echo", "echo-1", "echo-2"}
    assert {one.name for one in client.spectrum.protocols.list(**of_zone)} >= {"ssh", "rdp", "minecraft"}
    assert balancing.regions.get("WEU", **of_account)

    def is_healthy():
        health = balancing.pools.health.get(pool.id, **of_account)
        (told,) = health.pop_health.model_extra.values()
        return told["healthy"] and told["origins"][0]["127.0.0.1"]["failure_reason"] == "No failures"

    eventually(is_healthy, timeout_s=10)
    previewed(client, of_account, monitor, pool, free_port())

    grouped(client, of_account, monitor, pool, free_port())
    certified(daemon, client, of_zone, first, free_port())

    # Changes: PUT replaces, PATCH changes.
    assert balancing.pools.edit(pool.id, **of_account, description="echoes").description == "echoes"
    assert balancing.pools.update(pool.id, **of_account, name="echo-1", origins=origins).monitor is None
    assert len(balancing.pools.get(pool.id, **of_account).origins) == 2
    assert balancing.edit(balancer.id, **of_zone, default_pools=[spare.id, pool.id]).default_pools == [
        spare.id,
        pool.id,
    ]
    assert balancing.monitors.edit(monitor.id, **of_account, retries=0).retries == 0
    moved_port = free_port()
    moved = client.spectrum.apps.update(
        direct.id,
        **of_zone,
        protocol=f"tcp/{moved_port}",
        dns={"type": "CNAME", "name": "direct.example.com"},
        origin_direct=[f"tcp://127.0.0.1:{second}"],
        traffic_type="direct",
        ip_firewall=True,
    )
    assert moved.modified_on > moved.created_on == direct.created_on
    assert echo(moved_port) == b"through the edge"
    with pytest.raises(OSError):
        echo(direct_port)

    # Who is turned away.
    rules = client.firewall.access_rules
    rule = rules.create(**of_zone, mode="block", configuration={"target": "ip", "value": "127.0.0.1"}, notes="me & you")
    eventually(lambda: not reaches(moved_port))
    assert echo(port) == b"through the edge"  # it has no ip_firewall
    assert (
        rules.edit(rule.id, **of_zone, mode="whitelist", configuration=rule.configuration.to_dict()).mode == "whitelist"
    )
    eventually(lambda: reaches(moved_port))
    assert [one.id for one in rules.list(**of_zone, notes="ME &", configuration={"target": "ip"})] == [rule.id]
    assert list(rules.list(**of_zone, mode="block")) == []
    lists = client.rules.lists
    banned = lists.create(**of_account, kind="ip", name="banned")
    operation = lists.items.create(banned.id, **of_account, body=[{"ip": "127.0.0.0/8", "comment": "local"}])
    assert lists.bulk_operations.get(operation.operation_id, **of_account).status == "completed"
    items = list(lists.items.list(banned.id, **of_account, search="127."))
    assert [(one.ip, one.comment) for one in items] == [("127.0.0.0/8", "local")]
    assert lists.items.get(items[0].id, **of_account, list_id=banned.id).ip == "127.0.0.0/8"
    rules.delete(rule.id, **of_zone)
    listed = rules.create(**of_account, mode="block", configuration={"target": "ip_range", "value": "$banned"})
    eventually(lambda: not reaches(moved_port))
    assert lists.get(banned.id, **of_account).num_referencing_filters == 1
    lists.items.delete(banned.id, **of_account, items=[{"id": items[0].id}])
    eventually(lambda: reaches(moved_port))

    overridden(daemon, client, of_account)

    # 500 apps, page by page, in both orders.
    names = [one.dns.name for one in client.spectrum.apps.list(**of_zone, per_page=100)]
    assert len(names) == APPS_OF_FILE + 2
    assert names == sorted(names)
    last = client.spectrum.apps.list(**of_zone, order="dns", direction="desc", page=1, per_page=5)
    assert [one.dns.name for one in last.result] == sorted(names, reverse=True)[:5]
    assert last.result_info.model_extra["total_count"] == APPS_OF_FILE + 2

    documented_errors(client, account.id, zone.id, app, pool, monitor, direct_port)

    # Who reads the audit log finds the attempts that were refused, too.
    def refused() -> list[tuple[str, str]]:
        log = client.get(f"/accounts/{account.id}/audit_logs?per_page=100", cast_to=object)["result"]
        return [(one["action"]["type"], one["resource"]["type"]) for one in log if not one["action"]["result"]]

    eventually(lambda: {("create", "apps"), ("delete", "pools")} <= set(refused()), timeout_s=10)

    # The end of the day: what others need goes last.
    assert rules.delete(listed.id, **of_account).id == listed.id
    assert lists.delete(banned.id, **of_account).id == banned.id
    assert client.spectrum.apps.delete(app.id, **of_zone).id == app.id
    assert client.spectrum.apps.delete(direct.id, **of_zone).id == direct.id
    assert balancing.delete(balancer.id, **of_zone).id == balancer.id
    for one in (pool, spare):
        assert balancing.pools.delete(one.id, **of_account).id == one.id
    assert balancing.monitors.delete(monitor.id, **of_account).id == monitor.id
    assert list(balancing.pools.list(**of_account)) == []
    with pytest.raises(OSError):
        echo(port)


def previewed(client, of_account, monitor, pool, closed_port: int) -> None:
    """Probe a pool with other monitors than its own; nothing changes by it."""
    balancing = client.load_balancers
    begin = (
        (balancing.monitors.previews.create, monitor.id, {"type": "tcp"}, "No failures", None),
        (balancing.pools.health.create, pool.id, {"type": "tcp", "port": closed_port}, "TCP connection failed", None),
        (balancing.pools.health.create, pool.id, {"type": "http", "path": "/"}, "HTTP Invalid Response", None),
    )
    for create, identity, body, reason, code in begin:
        begun = create(identity, **of_account, **body)
        assert begun.pools == {pool.id: "echo-1"}
        eventually(lambda begun=begun: balancing.previews.get(begun.preview_id, **of_account), timeout_s=10)
        found = balancing.previews.get(begun.preview_id, **of_account)[pool.id]
        ((address, origin),) = found.origins[0].items()
        told = (address, origin.failure_reason, origin.response_code, found.healthy, origin.healthy)
        is_healthy = reason == "No failures"
        assert told == ("127.0.0.1", reason, code, is_healthy, is_healthy)
    pointer = "/type"
    fails(cloudflare.BadRequestError, 1002, pointer, balancing.pools.health.create, pool.id, **of_account, type="ftp")
    missing = cloudflare.NotFoundError
    fails(missing, 7003, None, balancing.previews.get, "0" * 32, **of_account)
    health = balancing.pools.health.get(pool.id, **of_account)
    (told,) = health.pop_health.model_extra.values()
    assert told["healthy"]


def grouped(client, of_account, monitor, pool, closed_port: int) -> None:
    """Have a group of monitors decide on a pool, of which one fails, and then the monitor alone again."""
    balancing = client.load_balancers
    closed = balancing.monitors.create(**of_account, type="tcp", port=closed_port, interval=1, description="closed")
    members = [
        {"monitor_id": monitor.id, "enabled": True, "monitoring_only": False, "must_be_healthy": True},
        {"monitor_id": closed.id, "enabled": True, "monitoring_only": True, "must_be_healthy": False},
    ]
    group = balancing.monitor_groups.create(**of_account, description="both", members=members)
    of_group = {"origins": [one.to_dict() for one in pool.origins], "name": pool.name, "monitor_group": group.id}
    assert balancing.pools.update(pool.id, **of_account, **of_group).monitor_group == group.id
    for one in (monitor, closed):
        assert [found.id for found in balancing.pools.list(**of_account, monitor=one.id)] == [pool.id]

    def failure():
        (told,) = balancing.pools.health.get(pool.id, **of_account).pop_health.model_extra.values()
        return told["healthy"], told["origins"][0]["127.0.0.1"]["failure_reason"]

    eventually(lambda: failure() == (True, "No failures"), timeout_s=10)
    members[1] |= {"monitoring_only": False, "must_be_healthy": True}
    edited = balancing.monitor_groups.edit(group.id, **of_account, description="both", members=members)
    assert edited.members[1].must_be_healthy
    eventually(lambda: failure() == (False, "TCP connection failed"), timeout_s=10)
    fails(cloudflare.BadRequestError, 1005, None, balancing.monitor_groups.delete, group.id, **of_account)
    balancing.pools.edit(pool.id, **of_account, monitor=monitor.id, monitor_group="")
    eventually(lambda: failure() == (True, "No failures"), timeout_s=10)
    balancing.monitor_groups.delete(group.id, **of_account)
    balancing.monitors.delete(closed.id, **of_account)


def certified(daemon, client, of_zone, origin_port: int, port: int) -> None:
    """Send a certificate with its key, serve it, replace it; the key is nowhere to be read."""
    authority = Authority()
    one, two = authority.issue("tls.example.com"), authority.issue("tls.example.com", "new.example.com")
    custom = client.custom_certificates
    made = custom.create(**of_zone, certificate=one.chain.decode(), private_key=one.key.decode(), type="sni_custom")
    assert (made.hosts, made.zone_id, made.status) == (["tls.example.com"], of_zone["zone_id"], "active")
    assert custom.get(made.id, **of_zone) == made
    assert [found.id for found in custom.list(**of_zone)] == [made.id]
    app = client.spectrum.apps.create(
        **of_zone,
        protocol=f"tcp/{port}",
        dns={"type": "CNAME", "name": "tls.example.com"},
        origin_direct=[f"tcp://127.0.0.1:{origin_port}"],
        tls="flexible",
        extra_body={"edge_tls": {"certificates": [made.id]}},
    )

    def served() -> bytes:
        return certificate_at(port, "tls.example.com", authority)

    assert served() == one.certificate.public_bytes(Encoding.DER)
    refused = cloudflare.BadRequestError
    fails(refused, 1002, "/private_key", custom.edit, made.id, **of_zone, certificate=two.chain.decode())
    edited = custom.edit(made.id, **of_zone, certificate=two.chain.decode(), private_key=two.key.decode())
    assert edited.hosts == ["tls.example.com", "new.example.com"]
    assert served() == two.certificate.public_bytes(Encoding.DER)
    assert daemon.reload() == []
    assert served() == two.certificate.public_bytes(Encoding.DER)
    fails(refused, 1005, None, custom.delete, made.id, **of_zone)
    client.spectrum.apps.delete(app.id, **of_zone)
    assert custom.delete(made.id, **of_zone).id == made.id


def overridden(daemon, client, of_account) -> None:
    """Say otherwise of the managed rules against attacks."""
    rulesets, of_phase = client.rulesets, {**of_account, "ruleset_phase": "ddos_l4"}
    (managed,) = rulesets.list(**of_account)
    flood = next(one for one in rulesets.get(managed.id, **of_account).rules if one.ref == "UDP-0001")
    fails(cloudflare.NotFoundError, 10003, None, rulesets.phases.get, **of_phase)
    overrides = {"rules": [{"id": flood.id, "sensitivity_level": "low", "action": "log"}]}
    rule = {
        "action": "execute",
        "action_parameters": {"id": managed.id, "overrides": overrides},
        "expression": "ip.dst in {192.0.2.0/24}",
        "description": "calls",
        "ref": "calls",
    }
    rulesets.phases.update(**of_phase, name="Network-layer DDoS entry point", rules=[rule])
    entry = rulesets.phases.get(**of_phase)
    assert [(one.ref, one.action_parameters.overrides.rules[0].id) for one in entry.rules] == [("calls", flood.id)]
    wrong = rule | {"expression": "ip.dts eq 192.0.2.1"}
    refused = cloudflare.BadRequestError
    message = fails(refused, 20127, "/rules/0/expression", rulesets.phases.update, **of_phase, rules=[wrong])
    assert "did you mean ip.dst?" in message
    switched = rule | {"action_parameters": {"id": managed.id, "overrides": {"enabled": False}}}
    pointer = "/rules/0/action_parameters/overrides/enabled"
    assert "eoff" in fails(refused, 20127, pointer, rulesets.phases.update, **of_phase, rules=[switched])
    # A change of the daemon's file leaves it, and no second one comes beside it.
    assert daemon.reload() == []
    assert rulesets.phases.get(**of_phase) == entry
    fails(refused, 20127, "/phase", rulesets.create, **of_account, kind="root", name="x", phase="ddos_l4", rules=[])
    assert rulesets.delete(entry.id, **of_account) is None
    assert [one.kind for one in rulesets.list(**of_account)] == ["managed"]


def reaches(port: int) -> bool:
    try:
        return echo(port) == b"through the edge"
    except OSError:
        return False


def documented_errors(client, account_id, zone_id, app, pool, monitor, port):
    """Provoke each error of the documentation that this edge can have."""
    refused, missing = cloudflare.BadRequestError, cloudflare.NotFoundError
    apps, pools = client.spectrum.apps, client.load_balancers.pools
    good = {
        "zone_id": zone_id,
        "protocol": f"tcp/{port}",
        "dns": {"type": "CNAME", "name": "x.example.com"},
        "traffic_type": "direct",
    }
    origin = {"origin_direct": ["tcp://192.0.2.1:22"]}
    new = apps.create
    fails(refused, 11000, "/origin_dns", new, **good, **origin, origin_dns={"name": "o.example"}, origin_port=22)
    fails(refused, 11001, "/origin_port", new, **good, origin_dns={"name": "o.example"})
    fails(refused, 11002, "/origin_direct/0", new, **good, origin_direct=["tcp://2001:db8::1:22"])
    assert "is the listener of app" in fails(
        refused, 11002, "/origin_direct/0", new, **good, origin_direct=[f"tcp://127.0.0.1:{app.protocol[4:]}"]
    )
    fails(refused, 11004, "/dns/type", new, **(good | {"dns": {"type": "ADDRESS", "name": "x.example.com"}}), **origin)
    bound = good | {"dns": {"type": "ADDRESS", "name": "x.example.com"}}
    elsewhere = {"type": "static", "ips": ["192.0.2.77"]}
    assert "not an address of this machine" in fails(
        refused, 11019, "/edge_ips/ips/0", new, **bound, **origin, edge_ips=elsewhere
    )
    fails(refused, 10012, "/colour", new, **good, **origin, extra_body={"colour": "red"})
    fails(refused, 16001, "/dns/name", new, **(good | {"dns": {"type": "CNAME", "name": "x.example.org"}}), **origin)
    assert "taken by app" in fails(refused, 13002, "/protocol", new, **(good | {"protocol": app.protocol}), **origin)
    fails(refused, 11044, "/virtual_network_id", new, **good, **origin, virtual_network_id=str(uuid4()))
    fails(
        cloudflare.PermissionDeniedError, 11026, "/argo_smart_routing", new, **good, **origin, argo_smart_routing=True
    )
    fails(missing, 7003, None, apps.get, "0" * 32, zone_id=zone_id)
    fails(missing, 7003, None, apps.delete, "0" * 32, zone_id=zone_id)
    fails(missing, 7003, None, pools.get, "0" * 32, account_id=account_id)
    fails(refused, 1002, "/monitor", pools.create, account_id=account_id, name="p", origins=[], monitor="0" * 32)
    fails(
        refused,
        1002,
        "/name",
        pools.create,
        account_id=account_id,
        name="echo-1",
        origins=[{"name": "a", "address": "a.b"}],
    )
    fails(refused, 1005, None, pools.delete, pool.id, account_id=account_id)
    fails(
        refused,
        1005,
        None,
        client.load_balancers.delete,
        next(iter(client.load_balancers.list(zone_id=zone_id))).id,
        zone_id=zone_id,
    )
    rules = client.firewall.access_rules
    bad = {"target": "ip", "value": "192.0.2.0/24"}
    fails(refused, 10002, "/configuration/value", rules.create, zone_id=zone_id, mode="block", configuration=bad)
    twice = {"target": "ip", "value": "192.0.2.9"}
    rule = rules.create(zone_id=zone_id, mode="block", configuration=twice)
    fails(refused, 10009, "/configuration", rules.create, zone_id=zone_id, mode="whitelist", configuration=twice)
    rules.delete(rule.id, zone_id=zone_id)
    fails(missing, 10001, None, rules.get, rule.id, zone_id=zone_id)
    file_app = next(iter(apps.list(zone_id=zone_id)))
    fails(cloudflare.APIStatusError, 10013, None, apps.delete, file_app.id, zone_id=zone_id)
    fails(missing, 7003, None, apps.list, zone_id="f" * 32)


def test_a_change_is_live_when_it_is_answered(edge, free_port):
    _, client = edge
    (zone,) = client.zones.list(name="example.com")
    origin, times = echoing(SOCK_STREAM), []
    for i in range(10):
        port = free_port()
        began = time.monotonic()
        client.spectrum.apps.create(
            zone_id=zone.id,
            protocol=f"tcp/{port}",
            dns={"type": "CNAME", "name": f"live-{i}.example.com"},
            origin_direct=[f"tcp://127.0.0.1:{origin}"],
            traffic_type="direct",
        )
        times.append(time.monotonic() - began)
        assert echo(port) == b"through the edge"
    assert min(times) < 1.0  # 0.1 s on a machine of one's own; this one is shared
