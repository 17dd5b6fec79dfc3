"""What a supervisor and the process of an order tell each other, as lines of JSON."""

import msgspec


class OrderRequest(msgspec.Struct, frozen=True):
    """To the process, first of all: what is asked for.

    Attributes:
        name: Of the certificate in the file.
        asked: What tells this from other settings of it.
        folder: Where it is kept.
        only_looks: Ask when to renew, and order nothing.
        names: What it is for.
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
    """From the process: how a challenge is to be answered. A line tells it that it is: an empty one, or why it is not.

    Attributes:
        kind: "http-01" or "tls-alpn-01".
        subject: A token, or a name.
        content: What is answered; a certificate in PEM form.
        key: The certificate's key in PEM form.
    """

    kind: str
    subject: str
    content: str
    key: str = ""


class Issued(msgspec.Struct, frozen=True, tag=True):
    """From the process, last of all: there is a new certificate, valid from and to, in seconds since 1970."""

    begins_at: float
    ends_at: float


class Found(msgspec.Struct, frozen=True, tag=True):
    """From the process, last of all: when to renew, 0 where the CA does not say; and when to ask again."""

    renew_at: float
    ask_at: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """From the process, last of all: why there is none.

    Attributes:
        why: The reason.
        reached: Whether the CA was reached.
        retry_after_s: How long the CA wants to be left alone; 0 for nothing said.
        counts: Whether it was an attempt at all.
    """

    why: str
    reached: bool = False
    retry_after_s: float = 0.0
    counts: bool = True
