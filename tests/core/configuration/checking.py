"""What is wrong with apps, by all checks of all features."""

from spectrum.core.configuration.config import App, Config
from spectrum.core.features import SECTIONS, check

UDP = ("udp/80", "udp://203.0.113.1:80")
TCP = ("tcp/80", "tcp://203.0.113.1:80")


def faults(apps, local=(), **settings):
    config = Config(apps=apps, **settings)
    return list(check(config, {section.key: list(getattr(config, section.key)) for section in SECTIONS}, local))


def app(protocol, *origins, edge=None, **more):
    body = {"protocol": protocol, "origin_direct": list(origins) or ["tcp://203.0.113.1:22"], **more}
    return App.model_validate(body | ({"edge_ips": edge} if edge else {}))
