# cython: language_level=3
"""See tls_end.pxd. Functions that are called per read or send run without the interpreter; handshakes need it."""

from cpython.bytes cimport PyBytes_AS_STRING
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy
from spectrum.engine.openssl cimport *
from libc.stdint cimport uint32_t
from spectrum.engine.tls cimport ServerContext, TlsPeer

cdef enum:
    FIRST_ROOM = 16384

cdef BIO_METHOD *_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, b"spectrum wire")
BIO_meth_set_read(_method, _read)
BIO_meth_set_write(_method, _write)
BIO_meth_set_ctrl(_method, _ctrl)


cdef int _read(BIO *bio, char *into, int room) noexcept nogil:
    cdef Wire *wire = <Wire *>BIO_get_data(bio)
    cdef size_t taken = wire.received_bytes - wire.at
    BIO_clear_retry_flags(bio)
    if taken == 0:
        BIO_set_retry_read(bio)
        return -1
    if taken > <size_t>room:
        taken = room
    memcpy(into, wire.received + wire.at, taken)
    wire.at += taken
    return <int>taken


cdef int _write(BIO *bio, const char *data, int size) noexcept nogil:
    return size if put(<Wire *>BIO_get_data(bio), data, size) else -1


cdef long _ctrl(BIO *bio, int command, long number, void *pointer) noexcept nogil:
    return command == BIO_CTRL_FLUSH


cdef bint put(Wire *wire, const char *data, size_t size) noexcept nogil:
    """Append to the bytes to be sent; return False without memory."""
    cdef size_t room = wire.room
    cdef char *grown
    if wire.outgoing_bytes + size > room:
        while wire.outgoing_bytes + size > room:
            room = max(<size_t>FIRST_ROOM, room * 2)
        grown = <char *>realloc(wire.outgoing, room)
        if grown == NULL:
            return False
        wire.outgoing = grown
        wire.room = room
    memcpy(wire.outgoing + wire.outgoing_bytes, data, size)
    wire.outgoing_bytes += size
    return True


cdef bint _open(TlsEnd *end, SSL_CTX *ctx, Wire *wire) noexcept:
    cdef BIO *bio
    end.ssl = SSL_new(ctx)
    bio = BIO_new(_method)
    if end.ssl == NULL or bio == NULL:
        if bio != NULL:
            BIO_free(bio)
        return False
    BIO_set_data(bio, wire)
    BIO_set_init(bio, 1)
    SSL_set_bio(end.ssl, bio, bio)
    return True


cdef TlsEnd *_end(object owner) except NULL:
    cdef TlsEnd *end = <TlsEnd *>calloc(1, sizeof(TlsEnd))
    if end == NULL:
        raise MemoryError()
    Py_INCREF(owner)
    end.owner = <PyObject *>owner
    return end


cdef TlsEnd *server_end(ServerContext context) except NULL:
    """Return the server end for a client's connection."""
    return _end(context)


cdef TlsEnd *client_end(TlsPeer origin, Wire *wire, bytes alpn) except NULL:
    """Return the client end for an origin's connection, which offers the protocols `alpn` (wire form)."""
    cdef TlsEnd *end = _end(origin)
    cdef bytes protocols = alpn or origin.context.alpn
    if not _open(end, origin.context.ctx, wire):
        free_end(end)
        raise MemoryError()
    SSL_set_connect_state(end.ssl)
    SSL_set_app_data(end.ssl, &origin.remembered)
    if origin.host:
        SSL_set_tlsext_host_name(end.ssl, PyBytes_AS_STRING(origin.host))
    if origin.context.verifies:
        if origin.address:
            X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(end.ssl), PyBytes_AS_STRING(origin.address))
        else:
            SSL_set_hostflags(end.ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)
            SSL_set1_host(end.ssl, PyBytes_AS_STRING(origin.host))
    if protocols:
        SSL_set_alpn_protos(end.ssl, <unsigned char *>PyBytes_AS_STRING(protocols), <unsigned int>len(protocols))
    if origin.remembered.session != NULL:
        SSL_set_session(end.ssl, origin.remembered.session)
    return end


cdef void free_end(TlsEnd *end) noexcept:
    if end.ssl != NULL:
        # Otherwise OpenSSL never resumes a session whose connection ended without close_notify.
        SSL_set_shutdown(end.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN)
        SSL_free(end.ssl)
    free(end.unread)
    Py_DECREF(<object>end.owner)
    free(end)


cdef int shake_hands(TlsEnd *end, Wire *wire) noexcept:
    """Continue the handshake with what was received: 1 if it is complete, 0 if it needs more, -1 if it failed."""
    cdef int outcome
    ERR_clear_error()
    if end.ssl == NULL:
        if not _open(end, (<ServerContext>end.owner).ctx, wire):
            return -1
        SSL_set_accept_state(end.ssl)
    outcome = SSL_do_handshake(end.ssl)
    if outcome == 1:
        return 1
    return 0 if SSL_get_error(end.ssl, outcome) == SSL_ERROR_WANT_READ else -1


cdef bint keep_unread(TlsEnd *end, Wire *wire) noexcept nogil:
    """Keep received bytes that were not consumed, for `take_unread`; return False without memory."""
    cdef size_t left = wire.received_bytes - wire.at
    if left == 0:
        return True
    end.unread = <char *>malloc(left)
    if end.unread == NULL:
        return False
    memcpy(end.unread, wire.received + wire.at, left)
    end.unread_at = 0
    end.unread_bytes = <uint32_t>left
    return True


cdef ssize_t take_unread(TlsEnd *end, char *into, size_t room) noexcept nogil:
    """Copy kept bytes, up to `room`; return 0 if none is left."""
    cdef size_t taken = end.unread_bytes - end.unread_at
    if taken > room:
        taken = room
    memcpy(into, end.unread + end.unread_at, taken)
    end.unread_at += <uint32_t>taken
    if end.unread_at == end.unread_bytes:
        free(end.unread)
        end.unread = NULL
        end.unread_at = end.unread_bytes = 0
    return <ssize_t>taken


cdef ssize_t unseal(TlsEnd *end, Wire *wire, char *into, size_t room) noexcept nogil:
    """Return the number of decrypted bytes, -1 if the received bytes are not valid TLS of this connection.

    `room` is for all of them: a record more than was received, as an incomplete record is kept until its end arrives.
    """
    cdef size_t got = 0
    cdef int outcome, error
    ERR_clear_error()
    while True:
        outcome = SSL_read(end.ssl, into + got, <int>(room - got))
        if outcome > 0:
            got += outcome
            continue
        error = SSL_get_error(end.ssl, outcome)
        if error == SSL_ERROR_ZERO_RETURN:
            end.closed = True
        elif error != SSL_ERROR_WANT_READ:
            return -1
        return <ssize_t>got


cdef bint seal(TlsEnd *end, Wire *wire, const char *data, size_t size) noexcept nogil:
    """Encrypt `data` and append it to the bytes to be sent; return False if that fails."""
    ERR_clear_error()
    return SSL_write(end.ssl, data, <int>size) == <int>size


cdef bint say_goodbye(TlsEnd *end, Wire *wire) noexcept nogil:
    """Append a close_notify to the bytes to be sent; return False if there was one before."""
    if end.ssl == NULL or SSL_get_shutdown(end.ssl) & SSL_SENT_SHUTDOWN:
        return False
    ERR_clear_error()
    return SSL_shutdown(end.ssl) >= 0


cdef object reason(TlsEnd *end):
    """Return why the latest call failed, in OpenSSL's words."""
    cdef unsigned long error = ERR_peek_error()
    cdef const char *text
    cdef long distrust
    if is_distrust():
        distrust = SSL_get_verify_result(end.ssl)
        ERR_clear_error()
        return (<bytes>X509_verify_cert_error_string(distrust)).decode()
    text = ERR_reason_error_string(error) if error else NULL
    ERR_clear_error()
    return "unknown" if text == NULL else (<bytes>text).decode()


cdef object refusal(TlsEnd *end):
    """Return why the choice of a certificate ended a client's handshake: a text or an exception; None if it did not.
    """
    return (<ServerContext>end.owner).take_refusal()


cdef bytes name_asked_for(TlsEnd *end):
    """Return the server name that a client sent, even in a failed handshake; empty for none."""
    cdef const char *name = SSL_get_servername(end.ssl, TLSEXT_NAMETYPE_host_name) if end.ssl != NULL else NULL
    return <bytes>name if name != NULL else b""


cdef bint is_distrust() noexcept:
    """Return whether the latest call failed because the peer's certificate did not verify."""
    return ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED


cdef bytes agreed_protocol(TlsEnd *end):
    """Return the protocol that was negotiated by ALPN; empty for none."""
    cdef const unsigned char *data = NULL
    cdef unsigned int length = 0
    SSL_get0_alpn_selected(end.ssl, &data, &length)
    return (bytes([length]) + (<const char *>data)[:length]) if length else b""


cdef object facts(TlsEnd *end):
    """Return the facts of a client's handshake; see `Facts` in tls_end.pyi."""
    cdef X509 *leaf = SSL_get_certificate(end.ssl)
    cdef X509 *peer = SSL_get0_peer_certificate(end.ssl)
    cdef bytes signature = b"", kind = b""
    if leaf != NULL:
        signature, kind = _algorithms(leaf)
    return (
        SSL_get_version(end.ssl),
        SSL_CIPHER_get_name(SSL_get_current_cipher(end.ssl)),
        agreed_protocol(end)[1:],
        name_asked_for(end),
        <bint>SSL_session_reused(end.ssl),
        _common_name(peer) if peer != NULL else None,
        signature,
        kind,
    )


cdef object origin_facts(TlsEnd *end):
    """Return the protocol version and cipher with an origin."""
    return SSL_get_version(end.ssl), SSL_CIPHER_get_name(SSL_get_current_cipher(end.ssl))


cdef tuple _algorithms(X509 *leaf):
    cdef EVP_PKEY *key = X509_get0_pubkey(leaf)
    return <bytes>OBJ_nid2sn(X509_get_signature_nid(leaf)), key_kind(key)


cdef bytes key_kind(EVP_PKEY *key):
    """Return the kind of a key as HAProxy writes it into PROXY headers: RSA2048, EC256."""
    cdef int kind = EVP_PKEY_get_base_id(key)
    if kind == EVP_PKEY_RSA:
        return f"RSA{EVP_PKEY_get_bits(key)}".encode()
    if kind == EVP_PKEY_EC:
        return f"EC{EVP_PKEY_get_bits(key)}".encode()
    return <bytes>OBJ_nid2sn(kind)


cdef bytes _common_name(X509 *leaf):
    """Return the common name of a certificate; empty for none."""
    cdef X509_NAME *subject = X509_get_subject_name(leaf)
    cdef int index = X509_NAME_get_index_by_NID(subject, NID_commonName, -1)
    cdef unsigned char *text = NULL
    cdef int length
    if index < 0:
        return b""
    length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, index)))
    if length < 0:
        return b""
    found = (<char *>text)[:length]
    OPENSSL_free(text)
    return found
