"""A `Lookout` with its memory, and who reads it."""

import os
from ipaddress import ip_address, ip_network

from spectrum.detector.columns import AppGroups, columns
from spectrum.engine.lookout import KNOWN_SOURCES, Lookout
from spectrum.engine.shared import Affinities
from spectrum.kernel.filter.rules import masked, numbered, pack_rule, pack_sets
from spectrum.kernel.worker_looks import WorkerLooks, make_file

NO_APPS = AppGroups({})


def mapped(address):
    packed = ip_address(address).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


class Watched:
    """A lookout with its memory."""

    def __init__(self):
        self.memory = make_file("looks")
        self.known = make_file("known", Affinities.bytes_for(KNOWN_SOURCES))
        self.lookout = Lookout()
        self.lookout.attach(self.memory, Affinities(self.known, KNOWN_SOURCES))
        self.looks = WorkerLooks(self.memory)

    def rules(self, *rules, guard=()):
        packed = [
            (numbered(pack_rule(one), number), pack_sets({"x": one}).get("x", [])) for number, one in enumerate(rules)
        ]
        self.lookout.set_rules(packed, [masked(ip_network(prefix)) for prefix in guard])

    def refuses(self, source="192.0.2.1", port=9, destination="192.0.2.2", to_port=53, protocol=17, **given):
        return self.lookout.refuses(mapped(source), port, mapped(destination), to_port, protocol, **given)

    def rows(self, groups=NO_APPS):
        return columns(self.looks.read(), groups)

    def close(self):
        self.looks.close()
        os.close(self.memory)
        os.close(self.known)
