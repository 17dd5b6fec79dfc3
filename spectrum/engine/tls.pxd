"""The C layout of TLS contexts."""

from spectrum.engine.openssl cimport EVP_PKEY, SSL_CTX, SSL_SESSION, X509, X509_STACK

cdef enum:
    MAX_TICKET_KEYS = 4
    TICKET_NAME_BYTES = 16
    TICKET_KEY_BYTES = 80

cdef struct Staple:
    # An OCSP response; its bytes follow. It belongs to the X509, which handshakes may hold longer than a key pair
    # exists.
    long length

cdef struct KeySet:
    # The first one encrypts; each is a name, an AES key and an HMAC key.
    unsigned char keys[MAX_TICKET_KEYS][TICKET_KEY_BYTES]
    int count

cdef struct Remembered:
    SSL_SESSION *session


cdef class TicketKeys:
    cdef KeySet set


cdef class CertificateKeyPair:
    cdef X509 *leaf
    cdef X509_STACK *chain
    cdef EVP_PKEY *key
    cdef int _read(self, bytes chain, bytes key) except -1


cdef class ChallengeContext:
    cdef SSL_CTX *ctx
    # Certificates by their names.
    cdef dict _answers
    cdef int take(self, void *ssl) noexcept
    cdef int choose(self, void *ssl, int *alert) noexcept


cdef class ServerContext:
    cdef SSL_CTX *ctx
    cdef object _find
    cdef ChallengeContext _challenges
    cdef TicketKeys _tickets
    cdef readonly bytes alpn
    # Why `choose` refused the latest handshake, until it is taken: a text, or an exception.
    cdef object _refusal
    cdef int choose(self, void *ssl, int *alert) noexcept
    cdef int _use(self, void *ssl, object certificates) except -1
    cdef object take_refusal(self)


cdef class ClientContext:
    cdef SSL_CTX *ctx
    cdef readonly bytes alpn
    cdef readonly bint verifies


cdef class TlsPeer:
    cdef readonly ClientContext context
    cdef readonly str name
    cdef bytes host, address
    cdef Remembered remembered
