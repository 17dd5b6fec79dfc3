"""One end of a TLS connection on a leg of the relay: a filter between ciphertext on the wire and plaintext.

It has no descriptor. Each call takes received bytes from the `Wire` and leaves bytes to send there; all ends of a relay
share one, as calls do not overlap. So reads and sends are as few, and as large, as without TLS.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint32_t
from spectrum.engine.openssl cimport BIO, SSL
from spectrum.engine.tls cimport ServerContext, TlsPeer

cdef struct Wire:
    const char *received
    size_t received_bytes
    size_t at             # of `received`: consumed bytes
    char *outgoing
    size_t outgoing_bytes
    size_t room           # size of `outgoing`

cdef struct TlsEnd:
    SSL *ssl              # NULL before the first bytes of a client, which may never come
    PyObject *owner       # a ServerContext or a TlsPeer, owned
    # Received together with the end of the handshake.
    char *unread
    uint32_t unread_at
    uint32_t unread_bytes
    bint closed           # its peer sent close_notify

cdef TlsEnd *server_end(ServerContext context) except NULL
cdef TlsEnd *client_end(TlsPeer origin, Wire *wire, bytes alpn) except NULL
cdef void free_end(TlsEnd *end) noexcept
cdef int shake_hands(TlsEnd *end, Wire *wire) noexcept
cdef bint keep_unread(TlsEnd *end, Wire *wire) noexcept nogil
cdef ssize_t take_unread(TlsEnd *end, char *into, size_t room) noexcept nogil
cdef ssize_t unseal(TlsEnd *end, Wire *wire, char *into, size_t room) noexcept nogil
cdef bint seal(TlsEnd *end, Wire *wire, const char *data, size_t size) noexcept nogil
cdef bint say_goodbye(TlsEnd *end, Wire *wire) noexcept nogil
cdef bint put(Wire *wire, const char *data, size_t size) noexcept nogil
cdef object reason(TlsEnd *end)
cdef object refusal(TlsEnd *end)
cdef bytes name_asked_for(TlsEnd *end)
cdef bint is_distrust() noexcept
cdef object facts(TlsEnd *end)
cdef object origin_facts(TlsEnd *end)
cdef bytes agreed_protocol(TlsEnd *end)
