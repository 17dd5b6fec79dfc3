"""What samples of packets are about: the app that each was for, and where it came from.

The supervisor knows it by what is served now; the API's process, which keeps samples, may open no file of places.
"""

from collections.abc import Iterable

from spectrum.control.configuration.actor import Plan
from spectrum.control.configuration.served import Served
from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.ddos.served import ServedError, ServedTable
from spectrum.plane.access.firewall import Places
from spectrum.wire import frames


class PacketPlaces:
    """Tells apps and places of samples.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        # What the two that follow were made of.
        self._plan: Plan | None = None
        self._table = ServedTable({})
        self._places = Places()

    def told(self, packets: Iterable[SampledPacket]) -> list[SampledPacket]:
        """Return samples with what is known of each; those of no IP packets stay as they are."""
        return [self._told(packet) for packet in packets]

    def _told(self, packet: SampledPacket) -> SampledPacket:
        frame = frames.parse(packet.header[: packet.frame_bytes])
        if frame is None:
            return packet
        if self._plan is not self._served.plan:
            self._read(self._served.plan)
        country, asn = self._places.of(frame.source.packed)
        app = self._table.app_at(frame.protocol, frame.destination, frame.destination_port)
        return packet._replace(app=app, country=country, asn=asn)

    def _read(self, plan: Plan) -> None:
        self._plan = plan
        self._places.read(plan.snapshot.geoip, plan.snapshot.geoip_asn)
        try:
            self._table = ServedTable(plan.config.apps)
        except ServedError:  # the file has no `ddos` section, which would refuse it
            self._table = ServedTable({})

    def close(self) -> None:
        """Close the files of places."""
        self._places.close()
