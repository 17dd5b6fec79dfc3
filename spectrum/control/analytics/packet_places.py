"""The app that each packet sample was for, and the place that it came from.

The supervisor adds both from the configuration that it serves; the API's process, which stores samples, may not open
databases of places.
"""

from collections.abc import Iterable

from spectrum.control.configuration.actor import Plan
from spectrum.control.configuration.served import Served
from spectrum.core.analytics.packet_rows import SampledPacket
from spectrum.core.ddos.served import ServedError, ServedTable
from spectrum.plane.access.firewall import ClientPlaces
from spectrum.wire import frames


class PacketPlaces:
    """Adds app and place to samples.

    Args:
        served: What is served.
    """

    def __init__(self, served: Served) -> None:
        self._served = served
        # The configuration that the next two were made from.
        self._plan: Plan | None = None
        self._table = ServedTable({})
        self._places = ClientPlaces()

    def told(self, packets: Iterable[SampledPacket]) -> list[SampledPacket]:
        """Return samples with app and place added; samples of packets other than IP are unchanged."""
        return [self._told(packet) for packet in packets]

    def _told(self, packet: SampledPacket) -> SampledPacket:
        frame = frames.parse(packet.header[: packet.frame_bytes])
        if frame is None:
            return packet
        if self._plan is not self._served.plan:
            self._read(self._served.plan)
        country, asn = self._places.lookup(frame.source.packed)
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
        """Close the databases of places."""
        self._places.close()
