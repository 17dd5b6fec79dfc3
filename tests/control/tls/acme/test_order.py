import datetime
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest

from spectrum.control.tls.acme.folder import AcmeFolder
from spectrum.control.tls.acme.kept import certificate_in
from spectrum.control.tls.acme.messages import Failed, Found, Issued, OrderRequest
from tests.acme_server import lookup
from tests.certificates import Authority
from tests.e2e.programs import run

pytest.importorskip("acme")
from spectrum.control.tls.acme import order

HTTP = {"challenge": "http-01"}


@pytest.fixture
def work(ca, tmp_path):
    """A function that returns what is asked for."""
    AcmeFolder(tmp_path / "acme").open()

    def make(**changes):
        return msgspec.structs.replace(
            OrderRequest(
                name="auto",
                asked="x",
                folder=str(tmp_path / "acme"),
                only_looks=False,
                names=("a.example.org", "b.example.org"),
                directory=ca.url,
                challenge="dns-01",
                email="ops@operators.com",
                key_type="ecdsa",
                profile="",
                ca=str(ca.ca),
                key_id="",
                hmac_key="",
                dns_address="127.0.0.1",
                dns_port=53,
                dns_key="",
                dns_propagation_s=0.0,
            ),
            **changes,
        )

    return make


@pytest.fixture
def mounted():
    """A function that mounts a small file system of its own on a folder."""
    folders = []

    def mount(folder, size):
        if run("mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder).returncode:
            pytest.skip("mounts need root")
        folders.append(folder)
        return folder

    yield mount
    for folder in folders:
        run("umount", folder)


def kept(tmp_path):
    return certificate_in("auto", (tmp_path / "acme" / "auto.pem").read_bytes())


@contextmanager
def http_answers():
    """Answers http-01 at port 80 with what it is given."""
    known = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = known.get(self.path.rpartition("/")[2])
            self.send_response(200 if content else 404)
            self.end_headers()
            self.wfile.write((content or "").encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 80), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield lambda answer: known.update({answer.subject: answer.content})
        server.shutdown()


def nobody(answer):
    """Answers no challenge."""


def test_dns_01_with_a_wildcard_and_a_second_order_with_the_account(work, tsig, tmp_path, ca):
    given = work(names=("a.example.org", "*.a.example.org"), dns_key=str(tsig))
    done = order.Order(given, nobody).run()
    assert isinstance(done, Issued), done
    first = kept(tmp_path)
    assert first.names == ("a.example.org", "*.a.example.org")
    assert first.ends_at == done.ends_at
    assert lookup("_acme-challenge.a.example.org", "TXT") == [], "it is removed"
    accounts = ca.requests("/acme/newaccount")
    assert isinstance(order.Order(given, nobody).run(), Issued)
    assert ca.requests("/acme/newaccount") == accounts
    assert kept(tmp_path).key != first.key, "each certificate has a key of its own"
    assert not AcmeFolder(tmp_path / "acme").pending("auto").exists()
    found = order.Order(work(only_looks=True), nobody).run()
    assert isinstance(found, Found), found
    assert 0 < found.renew_at < done.ends_at + 60


def test_rsa_by_http_01_and_another_address_of_the_operator(work, tmp_path):
    with http_answers() as show:
        assert isinstance(order.Order(work(**HTTP, key_type="rsa"), show).run(), Issued)
        assert kept(tmp_path).kind == "1.2.840.113549.1.1.1"
        other = work(**HTTP, email="other@operators.com")
        assert isinstance(order.Order(other, show).run(), Issued)


def test_names_that_are_not_ours(work, tmp_path):
    with http_answers() as show:
        failed = order.Order(work(**HTTP), lambda answer: show(msgspec.structs.replace(answer, content="no"))).run()
    assert isinstance(failed, Failed) and failed.reached
    assert failed.why.startswith("the CA did not validate the names: a.example.org: ")
    assert not AcmeFolder(tmp_path / "acme").pending("auto").exists(), "the next order is a new one"


def test_a_ca_that_is_slow_is_asked_again_for_the_same_order(work, tmp_path, monkeypatch):
    monkeypatch.setattr(order, "ORDER_TIMEOUT_S", 0)
    failed = order.Order(work(**HTTP), nobody).run()
    assert failed == Failed("the CA did not finish within 0 s", True)
    assert AcmeFolder(tmp_path / "acme").pending("auto").exists()


def test_a_rate_limit(work, ca):
    ca.trouble(
        "/acme/neworders",
        "429 Too Many Requests\nRetry-After: 3600\n"
        '{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many certificates for example.org"}',
    )
    try:
        failed = order.Order(work(), nobody).run()
    finally:
        ca.trouble("", "")
    assert failed.why == "the CA refuses: too many certificates for example.org (rateLimited)"
    assert 3500 < failed.retry_after_s <= 3600


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"directory": "https://127.0.0.1:9/directory"}, "the CA cannot be reached"),
        ({"ca": ""}, "the CA cannot be reached"),
    ],
)
def test_a_ca_that_cannot_be_reached_or_trusted(work, changes, why):
    failed = order.Order(work(**changes), nobody).run()
    assert failed.why.startswith(why)
    assert not failed.reached


@pytest.mark.parametrize("days", [-2, 2, 70])
def test_a_clock_that_is_wrong_orders_nothing(work, ca, monkeypatch, days):
    now, orders = time.time, ca.requests("/acme/neworders")
    monkeypatch.setattr(time, "time", lambda: now() + days * 86400)
    for only_looks in (False, True):
        failed = order.Order(work(only_looks=only_looks), nobody).run()
        assert isinstance(failed, Failed) and not failed.reached, "so the next attempt is soon"
        here, there = (f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d}" for at in (time.time(), now()))
        assert failed.why.startswith(f"it is {here} "), failed.why
        assert f"by the clock of this machine, but {there} " in failed.why
    assert ca.requests("/acme/neworders") == orders


@pytest.mark.parametrize("date", ["", "tomorrow", "Mon, 99 Nov 2026 00:00:00 GMT", "Fri, 27 Nov 99999 00:00:00 GMT"])
def test_a_ca_that_does_not_send_the_time(date):
    assert order._ahead_s(date) == 0.0


def test_a_ca_that_speaks_otherwise(work, ca):
    ca.trouble("/directory", "200 OK\nX: y\n<html>")
    try:
        failed = order.Order(work(), nobody).run()
    finally:
        ca.trouble("", "")
    assert failed.reached, failed


def test_an_order_that_is_killed_is_continued(work, ca, tmp_path):
    def die(answer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        order.Order(work(**HTTP), die).run()
    orders, issued = ca.requests("/acme/neworders"), ca.issued()
    with http_answers() as show:
        assert isinstance(order.Order(work(**HTTP), show).run(), Issued)
    assert ca.requests("/acme/neworders") == orders
    assert ca.issued() == issued + 1


def test_an_order_whose_challenge_nobody_answered_is_followed_by_another_one(work, ca, monkeypatch):
    """As after a kill: the CA was told that there is an answer, and nobody was there when it looked."""

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(order.client.ClientV2, "poll_authorizations", die)
        with pytest.raises(KeyboardInterrupt):
            order.Order(work(**HTTP), nobody).run()
    orders, issued = ca.requests("/acme/neworders"), ca.issued()
    with http_answers() as show:
        assert isinstance(order.Order(work(**HTTP), show).run(), Issued)
    assert ca.requests("/acme/neworders") == orders + 1
    assert ca.issued() == issued + 1


def test_an_order_for_what_is_not_asked_any_more_is_left(work, ca):
    def die(answer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        order.Order(work(**HTTP), die).run()
    orders = ca.requests("/acme/neworders")
    with http_answers() as show:
        assert isinstance(order.Order(work(**HTTP, names=("a.example.org",), asked="y"), show).run(), Issued)
    assert ca.requests("/acme/neworders") == orders + 1


def test_an_unwritable_folder_ends_an_order_before_the_ca_signs(work, ca, tmp_path):
    with http_answers() as show:
        assert isinstance(order.Order(work(**HTTP), show).run(), Issued)
        former, issued = kept(tmp_path), ca.issued()
        (tmp_path / "acme" / "auto.order.new").mkdir()
        failed = order.Order(work(**HTTP), show).run()
    assert isinstance(failed, Failed) and "auto.order.new" in failed.why, failed
    assert ca.issued() == issued
    assert kept(tmp_path) == former


def test_a_full_disk(work, ca, tmp_path, mounted):
    folder = mounted(tmp_path / "acme", "64k")
    AcmeFolder(folder).open()
    with http_answers() as show:
        assert isinstance(order.Order(work(**HTTP), show).run(), Issued)
        former, issued = kept(tmp_path), ca.issued()
        with pytest.raises(OSError):
            (folder / "rest").write_bytes(bytes(65536))
        failed = order.Order(work(**HTTP), show).run()
        assert failed.why == "the folder: no space left on device"
        assert (ca.issued(), kept(tmp_path)) == (issued, former)
        (folder / "rest").unlink()
        assert isinstance(order.Order(work(**HTTP), show).run(), Issued)


def test_one_order_at_a_time(work, tmp_path):
    with AcmeFolder(tmp_path / "acme").held():
        assert order.Order(work(), nobody).run() == Failed(
            f"another process orders certificates with {tmp_path}/acme", counts=False
        )


def test_what_a_ca_sends_is_looked_at():
    authority = Authority()
    one, old = authority.issue("a.example"), authority.issue("a.example", days=-1)
    assert order.check_issued(one.chain, one.key, ("a.example",)) == one.certificate
    for chain, key, names, why in (
        (b"", one.key, (), "sent no certificate"),
        (one.chain, old.key, (), "for another key"),
        (one.chain, one.key, ("a.example", "b.example"), "without b.example"),
        (old.chain, old.key, ("a.example",), "is valid from"),
    ):
        with pytest.raises(order.OrderError, match=why):
            order.check_issued(chain, key, names)


def test_the_certificate_of_a_challenge():
    chain, key = order.challenge_certificate("a.example", "token.thumbprint")
    found = certificate_in("x", chain + key)
    assert found.names == ("a.example",)
    assert found.ends_at > datetime.datetime.now(datetime.UTC).timestamp()
