"""The client's identity for decisions that depend on it."""

from hashlib import blake2b


def client_key(salt: bytes, client: bytes, port: int | None = None) -> int:
    """Return the key of a client, 64 bits: of its address in wire form, and its port if that counts.

    `salt` differs for each load balancer, so that a client's positions in two of them are independent.
    """
    if port is not None:
        client += port.to_bytes(2, "big")
    return int.from_bytes(blake2b(salt + client, digest_size=8).digest(), "big")
