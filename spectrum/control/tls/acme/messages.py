"""Messages between a supervisor and the process of an order, as lines of JSON."""

import msgspec


class OrderRequest(msgspec.Struct, frozen=True):
    """To the process, first of all: the order.

    Attributes:
        name: The name of the certificate in the file.
        asked: Identifies these settings of it.
        folder: The folder of stored state.
        only_looks: Only ask for the renewal time.
        names: The names of the certificate.
        directory, challenge, email, key_type, profile, ca: As in the file; empty for none.
        key_id, hmac_key: The external account; `hmac_key` is a path.
        dns_address, dns_port, dns_key, dns_propagation_s: The DNS server; `dns_key` is a path.
    """

    name: str
    asked: str
    folder: str
    only_looks: bool
    names: tuple[str, ...]
    directory: str
    challenge: str
    email: str
    key_type: str
    profile: str
    ca: str
    key_id: str
    hmac_key: str
    dns_address: str
    dns_port: int
    dns_key: str
    dns_propagation_s: float


class ChallengeAnswer(msgspec.Struct, frozen=True, tag=True):
    """From the process: the answer to publish for a challenge. A line tells it that this is done: an empty one, or why
    it is not.

    Attributes:
        kind: "http-01" or "tls-alpn-01".
        subject: A token, or a name.
        content: The answer; a certificate in PEM form.
        key: The certificate's key in PEM form.
    """

    kind: str
    subject: str
    content: str
    key: str = ""


class Issued(msgspec.Struct, frozen=True, tag=True):
    """From the process, at the end: there is a new certificate, valid from and to, in seconds since 1970."""

    begins_at: float
    ends_at: float


class Found(msgspec.Struct, frozen=True, tag=True):
    """From the process, at the end: the renewal time, 0 if the CA does not say; and when to ask again."""

    renew_at: float
    ask_at: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From the process, at the end: why there is no certificate.

    Attributes:
        why: The reason.
        reached: Whether the CA was reached.
        retry_after_s: The delay that the CA asks for; 0 for none.
        counts: Whether it counts as an attempt.
    """

    why: str
    reached: bool = False
    retry_after_s: float = 0.0
    counts: bool = True
