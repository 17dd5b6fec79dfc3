"""Certificates by ACME from a real CA, with real clients: the first one, renewals under traffic, a CA that is down."""

import os
import re
import signal
import socket
import ssl
import threading
from pathlib import Path

import cloudflare
import pytest

from spectrum.cli.client import ask
from tests.acme_server import AcmeServer, names, ports_are_free
from tests.cli.harness import spectrum
from tests.e2e.daemon import Daemon, children_of
from tests.e2e.echoes import certificate_at, echoing
from tests.e2e.operator_tools import local_api, make_token
from tests.e2e.programs import run
from tests.e2e.test_tls import Origin
from tests.engine.harness import eventually, port_of

NAME = "a.example.org"
TEXT = """
acme: {{folder: {folder}/acme}}
certificates:
  auto:
    acme:
      names: [{name}]
      directory: {ca.url}
      ca: {ca.ca}
      email: ops@operators.com
      accept_terms: true
      {more}
apps:
  web:
    protocol: tcp/443
    edge_ips: [127.0.0.1]
    sni: [{name}]
    alpn: [h2]
    origin_direct: [tcp://127.0.0.1:{port}]
    tls: flexible
    edge_tls: {{alpn: [h2], client_ca: {ca.ca}, client_certificate: required}}
  open:
    protocol: tcp/8443
    edge_ips: [127.0.0.1]
    origin_direct: [tcp://127.0.0.1:{port}]
    tls: flexible
  other:
    protocol: tcp/443
    edge_ips: [127.0.0.1]
    sni: [other.example.org]
    origin_direct: [tcp://127.0.0.1:{port}]
"""


@pytest.fixture
def ca(require, tmp_path):
    require("knotd")
    pytest.importorskip("acme2certifier")
    if not ports_are_free():
        pytest.skip("ports 53, 80 and 443 cannot be had; run with --numprocesses as root")
    with names(tmp_path / "names") as tsig, AcmeServer(tmp_path / "ca") as server:
        server.tsig = tsig
        yield server


class Traffic:
    """Clients that shake hands one after the other and verify nothing less than the CA; `with` ends them."""

    def __init__(self, ca):
        self.context = ssl.create_default_context(cadata=ca.authority.pem.decode())
        self.served, self.faults, self._ends = set(), [], threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._ends.wait(0.01):
            try:
                self.served.add(greeted(self.context))
            except (OSError, AssertionError) as exc:
                self.faults.append(exc)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()


def greeted(context):
    """Return the serial number of the certificate that a client of `open` gets, which hears its origin."""
    with (
        socket.create_connection(("127.0.0.1", 8443), 10) as sock,
        context.wrap_socket(sock, server_hostname=NAME) as tls,
    ):
        assert tls.recv(100).startswith(b"hello")
        return tls.getpeercert()["serialNumber"]


def statuses(pid):
    """Return the command and the status of each child of a process."""
    return [
        "".join(Path(f"/proc/{child}/{name}").read_text() for name in ("cmdline", "status"))
        for child in children_of(pid)
    ]


def acme_of(daemon):
    [one] = daemon.status()["acme"]
    return one


def test_a_life_of_a_certificate(ca, tmp_path):
    """tls-alpn-01 at a shared port whose app asks clients for certificates, then renewals, with a CA that goes away."""
    origin = Origin()

    def text(more="challenge: tls-alpn-01"):
        return TEXT.format(folder=tmp_path, ca=ca, port=port_of(origin.socket), more=more, name=NAME)

    def serve(more):
        daemon.write(text(more))
        assert daemon.reload() == []

    ca.stop()
    with Daemon(tmp_path, text(), workers=2) as daemon:
        eventually(lambda: acme_of(daemon)["failures"], 30, daemon.messages)
        assert "the CA cannot be reached" in acme_of(daemon)["failure"]
        shown = run("openssl", "s_client", "-connect", "127.0.0.1:8443", "-servername", NAME, input="").stdout
        assert "spectrum: no certificate yet" in shown, "clients are told why"
        ca.start()
        # Another setting is tried at once; the former is waited for.
        serve("challenge: tls-alpn-01\n      key_type: rsa")
        context = ssl.create_default_context(cadata=ca.authority.pem.decode())

        def is_served():
            try:
                return greeted(context)
            except OSError:
                return None

        eventually(is_served, 60, daemon.messages)
        assert run(
            "curl",
            "-s",
            "--http0.9",
            "-m",
            "2",
            "--cacert",
            ca.folder / "ca.pem",
            "--resolve",
            f"{NAME}:8443:127.0.0.1",
            f"https://{NAME}:8443/",
        ).stdout.startswith("hello")
        challenges = [event for event in daemon.events() if event["Reason"] == "acme_challenge"]
        assert {event["Application"] for event in challenges} == {"web"}

        with Traffic(ca) as traffic:
            eventually(lambda: len(traffic.served) == 1, 20)
            serve("challenge: http-01")  # an ECDSA key again: a new certificate
            eventually(lambda: len(traffic.served) == 2, 60, daemon.messages)
            ca.stop()
            serve("challenge: http-01\n      key_type: rsa")
            eventually(lambda: acme_of(daemon)["failures"] == 1, 30, daemon.messages)
        assert traffic.faults == []
        assert len(traffic.served) == 2, "it stays while there is no other"
    origin.socket.close()


def test_an_upgrade_during_an_order(ca, tmp_path):
    """The successor continues the order, or orders again where the CA has looked while nobody answered."""
    origin = Origin()
    text = TEXT.format(folder=tmp_path, ca=ca, port=port_of(origin.socket), more="challenge: http-01", name=NAME)
    with Daemon(tmp_path, text, workers=1) as daemon:
        eventually((tmp_path / "acme" / "auto.order").exists, 30, daemon.messages)
        ca.freeze()
        assert acme_of(daemon)["ordering"]
        (process,) = [status for status in statuses(daemon.process.pid) if "acme.order" in status]
        assert "CapEff:\t0000000000000000" in process, "it has no privilege"
        former = daemon.status()["pid"]
        assert ask(daemon.socket, "POST", "/upgrade", 60)["errors"] == []
        eventually(lambda: daemon.status()["pid"] != former, 30, daemon.messages)
        ca.thaw()
        eventually((tmp_path / "acme" / "auto.pem").exists, 60, daemon.messages)
        eventually(lambda: acme_of(daemon)["ends_at"], 20, daemon.messages)
        assert acme_of(daemon)["failures"] == 0
        assert ca.requests("/acme/neworders") in (1, 2)
        assert ca.issued() == 1
        os.kill(daemon.status()["pid"], signal.SIGTERM)
        assert daemon.process.wait(20) == 0
    origin.socket.close()


def test_a_daemon_that_is_killed_during_an_order(ca, tmp_path):
    """The next one continues the order, or orders again where the CA has looked while nobody answered."""
    origin = Origin()
    text = TEXT.format(folder=tmp_path, ca=ca, port=port_of(origin.socket), more="challenge: http-01", name=NAME)
    with Daemon(tmp_path, text, workers=1) as daemon:
        eventually((tmp_path / "acme" / "auto.order").exists, 30, daemon.messages)
        ca.freeze()
        assert acme_of(daemon)["ordering"]
        daemon.signal(signal.SIGKILL)
        daemon.process.wait(20)
    with Daemon(tmp_path, text, workers=1) as daemon:
        ca.thaw()
        eventually((tmp_path / "acme" / "auto.pem").exists, 90, daemon.messages)
        eventually(lambda: acme_of(daemon)["ends_at"], 20, daemon.messages)
        assert ca.requests("/acme/neworders") in (1, 2)
        assert ca.issued() == 1
    origin.socket.close()


ORDERED = """
zones: {{example.org: {{}}}}
api: {{listen: 127.0.0.1:{listen}, user: nobody}}
acme:
  folder: {folder}/acme
  authorities:
    lets_encrypt:
      directory: {ca.url}
      ca: {ca.ca}
      email: ops@operators.com
      accept_terms: true
      dns: {{server: 127.0.0.1, key: {ca.tsig}}}
"""


def test_a_certificate_that_the_api_orders(ca, tmp_path, free_port):
    """By the official client, its answers validated strictly: ordered by both ways, refused, served, deleted."""
    listen, port = free_port(), free_port()
    folder = tmp_path / "acme"
    with Daemon(tmp_path, ORDERED.format(folder=tmp_path, ca=ca, listen=listen), workers=1) as daemon:
        api = local_api(daemon)
        token = make_token(api, ["Everything Write"], {"com.cloudflare.api.account.*": "*"})
        client = cloudflare.Cloudflare(
            api_token=token,
            base_url=f"http://127.0.0.1:{listen}/client/v4",
            max_retries=0,
            _strict_response_validation=True,
        )
        (zone,) = client.zones.list()
        of_zone, packs = {"zone_id": zone.id}, client.ssl.certificate_packs
        order = {
            **of_zone,
            "type": "advanced",
            "certificate_authority": "lets_encrypt",
            "validation_method": "http",
            "validity_days": 90,
        }

        def status(pack):
            return packs.get(pack.id, **of_zone).status

        with pytest.raises(cloudflare.BadRequestError, match=r"is not in example\.org"):
            packs.create(**order, hosts=["www.example.com"])
        with pytest.raises(cloudflare.BadRequestError, match=r"\*\.example\.org can be validated by txt only"):
            packs.create(**order, hosts=["*.example.org"])
        ca.trouble("/acme/neworders", '403 Forbidden\nX: y\n{"type": "urn:ietf:params:acme:error:rejectedIdentifier"}')
        made = packs.create(**order, hosts=[NAME])
        assert made.status in ("initializing", "pending_validation")
        eventually(lambda: packs.get(made.id, **of_zone).validation_errors, 60, daemon.messages)
        assert status(made) == "pending_validation"
        ca.trouble("", "")
        packs.edit(made.id, **of_zone)
        eventually(lambda: status(made) == "active", 60, daemon.messages)
        wildcard = packs.create(**order | {"validation_method": "txt"}, hosts=["*.example.org", "example.org"])
        eventually(lambda: status(wildcard) == "active", 60, daemon.messages)
        assert {one.id for one in packs.list(**of_zone)} == {made.id, wildcard.id}
        assert packs.quota.get(**of_zone).advanced.used == 2
        eventually(lambda: acme_failures(daemon) == [0, 0])
        assert ca.issued() == 2

        app = client.spectrum.apps.create(
            **of_zone,
            protocol=f"tcp/{port}",
            dns={"type": "CNAME", "name": NAME},
            origin_direct=[f"tcp://127.0.0.1:{echoing(socket.SOCK_STREAM)}"],
            tls="flexible",
            extra_body={"edge_tls": {"certificates": [made.id]}},
        )
        assert certificate_at(port, NAME, ca.authority)
        assert daemon.reload() == []
        assert certificate_at(port, NAME, ca.authority)
        listed = spectrum("certificate", "list", "--api-socket", api._path)
        assert re.search(rf"^{NAME} .*active", listed.output, re.MULTILINE), listed.output
        # Another host, and another validation: the certificate becomes another one, of the same id.
        hosts = f"hosts={NAME},new.example.org"
        words = ("certificate", "set", NAME, hosts, "validation_method=txt", "--api-socket", api._path)
        done = spectrum(*words)
        assert done.exit_code == 0, done.output
        assert certificate_at(port, NAME, ca.authority), "the former one meanwhile"
        eventually(
            lambda: "new.example.org" in packs.get(made.id, **of_zone).certificates[0].hosts, 60, daemon.messages
        )
        eventually(lambda: certificate_at(port, "new.example.org", ca.authority), 20, daemon.messages)
        assert ca.issued() == 3
        refused = spectrum("certificate", "set", NAME, "bundle_method=force", "--api-socket", api._path)
        assert "certificate_authority and validity_days of an ordered certificate can be changed" in refused.output
        kept = {path.name for path in folder.glob("*.pem")}
        client.spectrum.apps.delete(app.id, **of_zone)
        for pack in (made, wildcard):
            assert packs.delete(pack.id, **of_zone).id == pack.id
        assert len(kept) == 2 and not list(folder.glob("*.pem")), "nor do the keys stay"
        client.close()
        api.close()


def acme_failures(daemon):
    return [one["failures"] for one in daemon.status()["acme"]]
