"""One order of a certificate, in a process of its own: the library blocks, and its memory is freed with the process.
The order comes over a socket, as a line of JSON; answers to challenges go back over it, and at the end the outcome.
Another process answers the challenges. This one writes the certificate into the folder.
"""

import ctypes
import datetime
import hashlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import josepy
import msgspec
import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from spectrum import __version__
from spectrum.control.dns.update import DnsUpdates, UpdateError
from spectrum.control.tls.acme.folder import AcmeFolder, InUse
from spectrum.control.tls.acme.messages import ChallengeAnswer, Failed, Found, Issued, OrderRequest
from spectrum.core.tls.pem import belongs, names_of
from spectrum.kernel.landlock import limit_files
from spectrum.kernel.privileges import confine

# Deadline for an answer of the CA, as in certbot.
NETWORK_TIMEOUT_S = 45
# Deadline for the CA to check all challenges, and to sign.
ORDER_TIMEOUT_S = 180
# How far the clocks of this machine and of the CA may differ: CAs issue certificates that are valid an hour before.
CLOCKS_APART_S = 3600
# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_ALPN_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")


class OrderError(Exception):
    """There is no certificate; the message says why."""


# The CA has ended an order that fails with one of these: it cannot be continued.
_ENDED = errors.ValidationError, errors.IssuanceError, OrderError


class _AlpnResponse(challenges.KeyAuthorizationChallengeResponse):
    typ = "tls-alpn-01"


@challenges.Challenge.register
class _AlpnChallenge(challenges.KeyAuthorizationChallenge):
    """tls-alpn-01 (RFC 8737), which the library had until its version 4."""

    response_cls = _AlpnResponse
    typ = response_cls.typ

    def validation(self, account_key: Any, **_: Any) -> str:
        return str(self.key_authorization(account_key))


_KINDS = {"tls-alpn-01": _AlpnChallenge, "http-01": challenges.HTTP01, "dns-01": challenges.DNS01}


class _Network(client.ClientNetwork):
    """Remembers facts about the latest answer that the library does not return.

    Attributes:
        reached: Whether there was an answer.
        retry_after_s: The delay that the CA asks for; 0 for none.
        ahead_s: How far the clock of this machine is ahead of the CA's; 0 if the CA does not send the time.
    """

    reached = False
    retry_after_s = 0.0
    ahead_s = 0.0

    def _send_request(self, *args: Any, **options: Any) -> requests.Response:
        response = super()._send_request(*args, **options)
        self.reached = True
        self.retry_after_s = 0.0
        self.ahead_s = _ahead_s(response.headers.get("Date", ""))
        if not response.ok and "Retry-After" in response.headers:
            until = client.ClientV2.retry_after(response, 0)
            self.retry_after_s = max(0.0, (until - datetime.datetime.now()).total_seconds())
        return response


class Order:
    """Carries out an order.

    Args:
        work: The order.
        show: Publishes the answer to a challenge, for as long as this process runs.
    """

    def __init__(self, work: OrderRequest, show: Callable[[ChallengeAnswer], None]) -> None:
        self._work = work
        self._show = show
        self._folder = AcmeFolder(Path(work.folder))
        self._network = _Network(verify_ssl=work.ca or True, user_agent=f"spectrum/{__version__}")
        self._network._default_timeout = NETWORK_TIMEOUT_S
        self._dns: DnsUpdates | None = None
        self._texts: dict[str, list[str]] = {}

    def run(self) -> Issued | Found | Failed:
        """Order, or ask for the renewal time; return the outcome."""
        try:
            with self._folder.held():
                return self._look() if self._work.only_looks else self._order()
        except InUse as exc:
            return Failed(str(exc), counts=False)
        except Exception as exc:
            network = self._network
            return Failed(explain(exc), network.reached, network.retry_after_s)
        finally:
            self._clear_texts()

    def _look(self) -> Found:
        """Ask for the renewal time (RFC 9773)."""
        client_ = self._client()
        at, again = client_.renewal_time(self._folder.certificate(self._work.name).read_bytes())
        # A time without a zone is in the local zone.
        return Found(at.timestamp() if at else 0.0, again.timestamp())

    def _client(self) -> Any:
        directory = client.ClientV2.get_directory(self._work.directory, self._network)
        if abs(self._network.ahead_s) > CLOCKS_APART_S:
            # What the CA issues would not be valid here, or be due at once; it limits what it issues.
            self._network.reached = False
            here, there = (f"{_utc(time.time() - off):%Y-%m-%d %H:%M} UTC" for off in (0, self._network.ahead_s))
            raise OrderError(f"it is {here} by the clock of this machine, but {there} by the CA's")
        return client.ClientV2(directory, self._network)

    def _order(self) -> Issued:
        client_ = self._client()
        self._register(client_)
        pending = self._folder.pending(self._work.name)
        begun = self._begun(client_)
        if begun:
            try:
                return self._finish(client_, *begun)
            except (errors.Error, OrderError) as exc:
                pending.unlink(missing_ok=True)  # It is continued once.
                if not isinstance(exc, _ENDED):
                    raise
                # The CA may have looked for the answer while no daemon ran: a new order shows.
        try:
            return self._finish(client_, *self._begin(client_))
        except _ENDED:
            pending.unlink(missing_ok=True)
            raise

    def _finish(self, client_: Any, key: bytes, order: Any) -> Issued:
        """Publish the answers to challenges, and get the certificate of an order."""
        work = self._work
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=ORDER_TIMEOUT_S)
        if order.authorizations:
            self._answer(client_, order.authorizations)
            order = client_.poll_authorizations(order, deadline)
            check_authorized(order.authorizations)
        order = client_.finalize_order(order, deadline)
        pem = order.fullchain_pem.encode()
        leaf = check_issued(pem, key, work.names)
        self._folder.write(self._folder.certificate(work.name), pem + key)
        self._folder.pending(work.name).unlink(missing_ok=True)
        return Issued(leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())

    # --- the account ----------------------------------------------------------------------------------------------

    def _register(self, client_: Any) -> None:
        """Use the stored account, or register a new one."""
        work, path = self._work, self._folder.account(self._work.directory)
        network = client_.net
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except FileNotFoundError:
            kept = {}
        if not kept:
            key = josepy.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
            kept = {"key": key.to_json()}
            # Saved before the CA knows it: an account without its key is lost.
            self._folder.write(path, msgspec.json.encode(kept))
        network.key, network.alg = josepy.JWK.from_json(kept["key"]), josepy.ES256
        contact = (f"mailto:{work.email}",) if work.email else ()
        if "uri" in kept:
            network.account = messages.RegistrationResource(
                uri=kept["uri"], body=messages.Registration(contact=tuple(kept["contact"]))
            )
            if tuple(kept["contact"]) != contact:
                update = messages.Registration(contact=contact)
                client_._post(kept["uri"], messages.UpdateRegistration(**dict(update)))
                self._folder.write(path, msgspec.json.encode({**kept, "contact": contact}))
            return
        fields: dict[str, Any] = {"contact": contact, "terms_of_service_agreed": True}
        if work.key_id:
            secret = Path(work.hmac_key).read_text().strip()
            public = network.key.public_key()
            fields["external_account_binding"] = messages.ExternalAccountBinding.from_data(
                public, work.key_id, secret, client_.directory
            )
        try:
            uri = client_.new_account(messages.NewRegistration(**fields)).uri
        except errors.ConflictError as exc:  # It was registered, and this process killed before it was saved.
            uri = exc.location
            network.account = messages.RegistrationResource(uri=uri, body=messages.Registration(contact=contact))
        self._folder.write(path, msgspec.json.encode({**kept, "uri": uri, "contact": contact}))

    # --- the order ------------------------------------------------------------------------------------------------

    def _begun(self, client_: Any) -> tuple[bytes, Any] | None:
        """Return the key and the order that an earlier process did not finish; None if there is none. Otherwise each
        restart would count against the CA's limits.
        """
        path = self._folder.pending(self._work.name)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
            if kept["asked"] != self._work.asked:
                return None
            response = client_._post_as_get(kept["uri"])
            body = messages.Order.from_json(response.json())
        except (OSError, ValueError, KeyError, messages.Error, errors.Error, josepy.errors.Error):
            return None
        if body.status == messages.STATUS_INVALID:
            return None
        authorizations = [
            client_._authzr_from_response(client_._post_as_get(url), uri=url) for url in body.authorizations or ()
        ]
        key = kept["key"].encode()
        csr = request_for(self._work.names, key)
        return key, messages.OrderResource(body=body, uri=kept["uri"], authorizations=authorizations, csr_pem=csr)

    def _begin(self, client_: Any) -> tuple[bytes, Any]:
        key = new_key(self._work.key_type)
        order = client_.new_order(request_for(self._work.names, key), self._work.profile or None)
        # Before the CA has signed anything: with a full disk the order ends here.
        kept = {"asked": self._work.asked, "uri": order.uri, "key": key.decode()}
        self._folder.write(self._folder.pending(self._work.name), msgspec.json.encode(kept))
        return key, order

    def _answer(self, client_: Any, authorizations: Iterable[Any]) -> None:
        """Publish the answers to all challenges, then notify the CA."""
        chosen = []
        for authorization in authorizations:
            if authorization.body.status == messages.STATUS_PENDING:
                challenge, name = self._choose(authorization), authorization.body.identifier.value
                response, validation = challenge.response_and_validation(self._network.key)
                self._prepare(name, challenge.chall, validation)
                chosen.append((challenge, response))
        self._set_texts()
        for challenge, response in chosen:
            if challenge.status == messages.STATUS_PENDING:
                client_.answer_challenge(challenge, response)

    def _choose(self, authorization: Any) -> Any:
        kind = self._work.challenge
        for challenge in authorization.body.challenges:
            if isinstance(challenge.chall, _KINDS[kind]):
                return challenge
        offered = ", ".join(sorted(str(one.chall.to_json().get("type")) for one in authorization.body.challenges))
        raise OrderError(f"the CA offers no {kind} for {authorization.body.identifier.value}, only {offered}")

    def _prepare(self, name: str, challenge: Any, validation: str) -> None:
        kind = self._work.challenge
        if kind == "http-01":
            self._show(ChallengeAnswer(kind, challenge.encode("token"), validation))
        elif kind == "tls-alpn-01":
            chain, key = challenge_certificate(name, validation)
            self._show(ChallengeAnswer(kind, name, chain.decode(), key.decode()))
        else:
            self._texts.setdefault(challenge.validation_domain_name(name), []).append(validation)

    # --- dns-01 ---------------------------------------------------------------------------------------------------

    def _set_texts(self) -> None:
        if not self._texts:
            return
        work = self._work
        self._dns = DnsUpdates(work.dns_address, work.dns_port, work.dns_key)
        for name, values in self._texts.items():
            self._dns.set_text(name, values)
        signal.sigtimedwait([], work.dns_propagation_s)

    def _clear_texts(self) -> None:
        for name in self._texts if self._dns else ():
            try:
                assert self._dns is not None, "there is one"
                self._dns.set_text(name, [])
            except UpdateError as exc:
                print(f"spectrum: a TXT record is left: {exc}", file=sys.stderr)  # noqa: T201


def _ahead_s(date: str) -> float:
    """Return how far the clock is ahead of the time in a header (RFC 9110 section 6.6.1); 0 if it has none."""
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _utc(at: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(at, datetime.UTC)


def new_key(kind: str) -> bytes:
    """Return a new key in PEM form; RSA where clients are old."""
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def request_for(names: tuple[str, ...], key: bytes) -> bytes:
    """Return the request for a certificate (RFC 2986) in PEM form."""
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(alternatives, critical=False)
    return builder.sign(_private(key), SHA256()).public_bytes(Encoding.PEM)


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey), "made here"
    return key


def challenge_certificate(name: str, authorization: str) -> tuple[bytes, bytes]:
    """Return the certificate that answers tls-alpn-01 (RFC 8737 section 3), and its key, in PEM form."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ACME challenge")])
    digest = hashlib.sha256(authorization.encode()).digest()
    identifier = x509.UnrecognizedExtension(_ALPN_IDENTIFIER, b"\x04\x20" + digest)
    leaf = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(identifier, critical=True)
        .sign(key, SHA256())
    )
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    return leaf.public_bytes(Encoding.PEM), key.private_bytes(*form)


def check_authorized(authorizations: Iterable[Any]) -> None:
    """Raise OrderError for a name that the CA did not validate without giving a reason. The library raises only for
    challenges with an error.

    The library takes only challenges with an error for failed ones.
    """
    for one in authorizations:
        if one.body.status != messages.STATUS_VALID:
            name, status = one.body.identifier.value, one.body.status.name
            raise OrderError(f"the CA did not validate the names: {name}: {status}, without a reason")


def check_issued(pem: bytes, key: bytes, names: tuple[str, ...]) -> x509.Certificate:
    """Return the certificate of the CA, if it may replace the former one.

    Raises:
        OrderError: If it is for another key or other names, or is not valid now.
    """
    try:
        leaf = x509.load_pem_x509_certificates(pem)[0]
    except ValueError as exc:
        raise OrderError(f"the CA sent no certificate: {exc}") from exc
    if not belongs(load_pem_private_key(key, None), leaf):
        raise OrderError("the CA sent a certificate for another key")
    if missing := set(names) - {name.lower() for name in names_of(leaf)}:
        raise OrderError(f"the CA sent a certificate without {min(missing)}")
    now, begins, ends = _utc(time.time()), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    if not begins - datetime.timedelta(seconds=CLOCKS_APART_S) <= now < ends:
        raise OrderError(f"the CA sent a certificate that is valid from {begins} to {ends}, but the time is {now:%c}")
    return leaf


def explain(exc: BaseException) -> str:
    """Return why an order failed, in the CA's words if it has any."""
    match exc:
        case errors.ValidationError():
            found = [
                f"{one.body.identifier.value}: {challenge.error.detail or challenge.error.typ}"
                for one in exc.failed_authzrs
                for challenge in one.body.challenges
                if challenge.error is not None
            ]
            return "the CA did not validate the names: " + "; ".join(found)
        case messages.Error():
            details = [exc, *(exc.subproblems or ())]
            told = "; ".join(str(one.detail or one.title or "") for one in details).strip("; ")
            return f"the CA refuses: {told or exc.typ} ({exc.code or exc.typ})"
        case errors.IssuanceError():
            return explain(exc.error)
        case errors.TimeoutError():
            return f"the CA did not finish within {ORDER_TIMEOUT_S} s"
        case requests.exceptions.RequestException():
            return f"the CA cannot be reached: {exc}"
        case errors.Error():
            return f"the CA's answer violates RFC 8555: {exc or type(exc).__name__}"
        case OSError():
            return f"{exc.filename or 'the folder'}: {(exc.strerror or str(exc)).lower()}"
        case OrderError() | UpdateError():
            return str(exc)
        case _:
            return f"{type(exc).__name__}: {exc}"


def main() -> None:
    """Carry out an order: the argument is the descriptor of the socket."""
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        confine(())
        # Orders that the supervisor no longer waits for are not carried out.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        with sock.makefile("rb") as lines:
            work = msgspec.json.decode(lines.readline(), type=OrderRequest)
            # It parses data of the CA; if that exploits it, it cannot write elsewhere.
            limit_files([Path("/")], (), [Path(work.folder)])

            def show(answer: ChallengeAnswer) -> None:
                sock.sendall(msgspec.json.encode(answer) + b"\n")
                if fault := lines.readline().decode().strip():
                    raise OrderError(fault)

            sock.sendall(msgspec.json.encode(Order(work, show).run()) + b"\n")


if __name__ == "__main__":
    os.umask(0o077)
    main()
