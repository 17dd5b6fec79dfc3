"""A library for origins' own programs: read the headers that name the client."""

from spectrum.origin.datagrams import DatagramClient, ProxiedDatagrams
from spectrum.origin.streams import read_proxy_header

__all__ = ["DatagramClient", "ProxiedDatagrams", "read_proxy_header"]
