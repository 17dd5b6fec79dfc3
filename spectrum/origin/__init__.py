"""What does an origin's own program import? Helpers over the codecs that tell who the client is."""

from spectrum.origin.datagrams import DatagramClient, ProxiedDatagrams
from spectrum.origin.streams import read_proxy_header

__all__ = ["DatagramClient", "ProxiedDatagrams", "read_proxy_header"]
