from ipaddress import ip_network

from spectrum.core.configuration.config import Config
from spectrum.core.flow_programs.places import IN_USE, LOG, JudgedPlace, judged_places


def config(apps, programs):
    apps = {
        name: {"protocol": protocol, "edge_ips": [address], "origin_direct": ["udp://192.0.2.9:1"]}
        for name, protocol, address in apps
    }
    programs = {
        name: {"source": "/p.c", "apps": own, "mode": mode, "in_use": in_use} for name, own, mode, in_use in programs
    }
    return Config.model_validate({"apps": apps, "flow_programs": programs})


def places(apps, programs):
    whole = config(apps, programs)
    return judged_places(whole.flow_programs, whole.apps)


def test_where_programs_judge():
    apps = [
        ("game", "udp/7000-7001", "192.0.2.1"),
        ("other", "udp/7000", "2001:db8::1"),
        ("voice", "udp/7002", "192.0.2.1"),
        ("far", "udp/9000", "192.0.2.1"),
    ]
    programs = [("off", ["far"], "disabled", False), ("g", ["game"], "log", False), ("v", ["voice"], "enabled", True)]
    here, there = ip_network("192.0.2.1"), ip_network("2001:db8::1")
    assert places(apps, programs) == [
        JudgedPlace(here, 7000, 1 | LOG),
        JudgedPlace(here, 7001, 1 | LOG),
        JudgedPlace(there, 7000, 0),  # to the same port
        JudgedPlace(here, 7002, 2 | IN_USE),
    ]
    assert places(apps, programs[:1]) == []


def test_all_ports():
    apps = [("game", "udp/1-65535", "192.0.2.1"), ("dns", "udp/53", "192.0.2.2"), ("web", "tcp/53", "192.0.2.3")]
    found = places(apps, [("g", ["game"], "enabled", False)])
    assert found == [JudgedPlace(ip_network("192.0.2.1"), 0, 1), JudgedPlace(ip_network("192.0.2.2"), 53, 0)]
