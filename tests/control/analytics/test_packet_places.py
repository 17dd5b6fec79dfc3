from msgspec.structs import replace

from spectrum.control.analytics.packet_places import PacketPlaces
from spectrum.control.configuration.actor import Change, Plan
from spectrum.control.configuration.served import Served
from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.configuration.config import Config
from spectrum.core.ddos import served as places
from tests.control.plans import NOTHING
from tests.core.analytics.test_packet_rows import header
from tests.plane.access.test_geoip import database

APP = {"protocol": "udp/7000", "origin_direct": ["udp://192.0.2.100:7000"]}


def packet(source="192.0.2.1", **more):
    return SampledPacket(5, "passed", 100, header(source), 1000, False, **more)


def plan(apps, countries="", numbers=""):
    snapshot = replace(NOTHING, geoip=countries, geoip_asn=numbers)
    return Plan(Config.model_validate({"apps": apps}), snapshot, {}, b"")


async def test_samples_have_their_app_and_where_they_came_from(tmp_path):
    countries = database(tmp_path / "country.mmdb", [(["192.0.2.0/24"], {"country": "DE"})])
    numbers = database(tmp_path / "asn.mmdb", [(["192.0.2.0/24"], {"autonomous_system_number": 64500})])
    served = Served(Config())
    known = PacketPlaces(served)
    assert known.told([packet()]) == [packet()]
    first = plan({"dns": APP}, str(countries), str(numbers))
    await served.commit(Change(served.plan, first))
    away = packet("203.0.113.1")
    assert known.told([packet(), away]) == [
        packet(app="dns", country="DE", asn=64500),
        away._replace(app="dns"),
    ]
    await served.commit(Change(first, plan({})))
    assert known.told([packet()]) == [packet()]
    known.close()


def test_other_packets_are_unchanged():
    arp = SampledPacket(5, "malformed", 60, bytes(12) + b"\x08\x06" + bytes(46), 1, True)
    assert PacketPlaces(Served(Config())).told([arp]) == [arp]


async def test_more_places_than_the_table_holds(monkeypatch):
    """Such a file is refused only where attacks are looked for."""
    monkeypatch.setattr(places, "MAX_PLACES", 1)
    served = Served(Config())
    await served.commit(Change(served.plan, plan({"dns": APP})))
    assert PacketPlaces(served).told([packet()]) == [packet()]
