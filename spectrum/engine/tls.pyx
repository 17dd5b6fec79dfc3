# cython: language_level=3
"""Configuration of TLS connections: certificates, ticket keys, and contexts for clients and for origins.

Python creates contexts for every app; they live as long as any connection that began with them. OpenSSL's callbacks
during a handshake are here: the choice of certificate, protocol, ticket key and OCSP response.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy
from spectrum.engine.openssl cimport *

# Mozilla's intermediate profile for TLS 1.2, without the key exchange that needs a file of parameters: forward secrecy
# and authenticated encryption only. All of TLS 1.3 have both.
cdef bytes CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
VERSIONS = {"1.2": TLS1_2_VERSION, "1.3": TLS1_3_VERSION}
# Lifetime of a ticket; RFC 8446 section 4.6.1 allows a week.
TICKET_LIFETIME_S = 7200

cdef int _staple_index = new_x509_index()
cdef EVP_CIPHER *_ticket_cipher = EVP_CIPHER_fetch(NULL, b"AES-256-CBC", NULL)


class TlsError(ValueError):
    """Certificates, keys or settings cannot be used for TLS; the message has the reason."""


cdef object _fault(str what):
    """Return an error with OpenSSL's reason, which is removed from its queue."""
    cdef unsigned long error = ERR_peek_error()
    cdef const char *reason = ERR_reason_error_string(error) if error else NULL
    ERR_clear_error()
    return TlsError(what if reason == NULL else f"{what}: {(<bytes>reason).decode()}")


cdef BIO *_memory(bytes text) except NULL:
    cdef BIO *bio = BIO_new_mem_buf(PyBytes_AS_STRING(text), <int>PyBytes_GET_SIZE(text))
    if bio == NULL:
        raise MemoryError()
    return bio


cdef X509_STACK *_certificates(bytes text, str what) except NULL:
    """Return the certificates in a PEM text; the caller frees them."""
    cdef BIO *bio = _memory(text)
    cdef X509_STACK *stack = sk_X509_new_null()
    cdef X509 *one
    cdef int count = 0
    while True:
        one = PEM_read_bio_X509(bio, NULL, NULL, NULL)
        if one == NULL:
            break
        sk_X509_push(stack, one)
        count += 1
    BIO_free(bio)
    if count == 0:
        free_certificates(stack)
        raise _fault(f"no {what} in PEM form")
    ERR_clear_error()  # the error at the end of the text
    return stack


cdef class TicketKeys:
    """The keys of session tickets (RFC 5077 section 4), shared by all workers."""

    def set_keys(self, list keys):
        """Encrypt with the first of `keys`, and accept tickets of all; each is `KEY_BYTES` random bytes."""
        cdef bytes key
        if not 0 < len(keys) <= MAX_TICKET_KEYS or any(len(key) != TICKET_KEY_BYTES for key in keys):
            raise ValueError(f"1 to {MAX_TICKET_KEYS} keys of {TICKET_KEY_BYTES} bytes")
        for number, key in enumerate(keys):
            memcpy(self.set.keys[number], PyBytes_AS_STRING(key), TICKET_KEY_BYTES)
        self.set.count = len(keys)


KEY_BYTES = TICKET_KEY_BYTES


cdef class CertificateKeyPair:
    """A certificate with its chain and key.

    Args:
        chain: In PEM form, the leaf first.
        key: Its private key in PEM form.
        staple: An OCSP response in DER form (RFC 6960), sent with it; empty for none.

    Raises:
        TlsError: If they cannot be read, or do not belong together.
    """

    def __init__(self, bytes chain, bytes key, bytes staple=b""):
        cdef Staple *held
        self._read(chain, key)
        if staple:
            held = <Staple *>OPENSSL_malloc(sizeof(Staple) + len(staple))
            if held == NULL:
                raise MemoryError()
            held.length = len(staple)
            memcpy(held + 1, PyBytes_AS_STRING(staple), held.length)
            X509_set_ex_data(self.leaf, _staple_index, held)

    cdef int _read(self, bytes chain, bytes key) except -1:
        cdef BIO *bio = _memory(chain)
        self.leaf = PEM_read_bio_X509(bio, NULL, NULL, NULL)
        if self.leaf == NULL:
            BIO_free(bio)
            raise _fault("no certificate in PEM form")
        self.chain = sk_X509_new_null()
        while (one := PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL:
            sk_X509_push(self.chain, one)
        BIO_free(bio)
        ERR_clear_error()
        bio = _memory(key)
        # The passphrase is empty: without one OpenSSL would ask on the terminal.
        self.key = PEM_read_bio_PrivateKey(bio, NULL, NULL, b"")
        BIO_free(bio)
        if self.key == NULL:
            raise _fault("no private key in PEM form without a passphrase")
        if not X509_check_private_key(self.leaf, self.key):
            ERR_clear_error()
            raise TlsError("the private key is not the certificate's")
        return 0

    def __dealloc__(self):
        X509_free(self.leaf)
        EVP_PKEY_free(self.key)
        if self.chain != NULL:
            free_certificates(self.chain)


cdef SSL_CTX *_context(const SSL_METHOD *method, tuple versions) except NULL:
    cdef SSL_CTX *ctx = SSL_CTX_new(method)
    if ctx == NULL:
        raise _fault("no TLS context")
    SSL_CTX_set_min_proto_version(ctx, VERSIONS[versions[0]])
    SSL_CTX_set_max_proto_version(ctx, VERSIONS[versions[1]])
    # An idle connection keeps no buffers.
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS)
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION)
    if not SSL_CTX_set_cipher_list(ctx, PyBytes_AS_STRING(CIPHERS)):
        SSL_CTX_free(ctx)
        raise _fault("no ciphers")
    return ctx


cdef int _trust(SSL_CTX *ctx, bytes authorities, bint tells_clients) except -1:
    """Verify peers by these certificate authorities."""
    cdef X509_STACK *stack = _certificates(authorities, "authority's certificate")
    cdef X509 *one
    cdef int i
    for i in range(sk_X509_num(stack)):
        one = sk_X509_value(stack, i)
        X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), one)
        if tells_clients:
            SSL_CTX_add_client_CA(ctx, one)
    free_certificates(stack)
    ERR_clear_error()  # of a duplicate
    return 0


def wire_protocols(protocols):
    """Return protocols in ALPN's wire form (RFC 7301 section 3.1)."""
    return b"".join(bytes([len(one)]) + one for one in (protocol.encode("ascii") for protocol in protocols))


# RFC 8737 section 4, as in a ClientHello: the length of the list, then that of its only entry.
cdef enum:
    ACME_OFFER_BYTES = 13
cdef const char *ACME_OFFER = b"\x00\x0b\x0aacme-tls/1"


cdef class ChallengeContext:
    """The TLS context for validation by certificate authorities (tls-alpn-01, RFC 8737).

    A `ServerContext` passes handshakes to it in which the client offers acme-tls/1 only, while there are answers;
    without any such a client is like any other.
    """

    def __init__(self):
        self._answers = {}
        self.ctx = _context(TLS_server_method(), ("1.2", "1.3"))
        SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_tlsext_servername_callback(self.ctx, _choose_answer)
        SSL_CTX_set_tlsext_servername_arg(self.ctx, <void *>self)
        SSL_CTX_set_alpn_select_cb(self.ctx, _choose_acme, NULL)

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)

    def set_answers(self, dict answers):
        """Answer with these `CertificateKeyPair`s, by name; with none, leave all handshakes to the apps."""
        self._answers = {name.lower(): one for name, one in answers.items()}

    cdef int take(self, void *ssl) noexcept:
        if self._answers:
            SSL_set_SSL_CTX(<SSL *>ssl, self.ctx)
            # An authority has no client certificate, and does not resume sessions.
            SSL_set_verify(<SSL *>ssl, SSL_VERIFY_NONE, NULL)
            SSL_set_options(<SSL *>ssl, SSL_OP_NO_TICKET)
            SSL_set_num_tickets(<SSL *>ssl, 0)
        return SSL_CLIENT_HELLO_SUCCESS

    cdef int choose(self, void *ssl, int *alert) noexcept:
        """Set the certificate for a handshake's server name."""
        cdef const char *name = SSL_get_servername(<SSL *>ssl, TLSEXT_NAMETYPE_host_name)
        cdef CertificateKeyPair one
        try:
            one = self._answers.get((<bytes>name).decode("ascii", "replace").lower()) if name != NULL else None
        except Exception:
            one = None
        if one is not None and SSL_use_cert_and_key(<SSL *>ssl, one.leaf, one.key, one.chain, 1):
            return SSL_TLSEXT_ERR_OK
        ERR_clear_error()
        alert[0] = SSL_AD_UNRECOGNIZED_NAME
        return SSL_TLSEXT_ERR_ALERT_FATAL


cdef int _choose_answer(SSL *ssl, int *alert, void *context) noexcept nogil:
    with gil:
        return (<ChallengeContext>context).choose(ssl, alert)


cdef int _choose_acme(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *offered,
                      unsigned int length, void *context) noexcept nogil:
    """It is the only protocol in the offer, as `_look_for_challenge` has checked."""
    out[0] = offered + 1
    out_length[0] = offered[0]
    return SSL_TLSEXT_ERR_OK


cdef int _look_for_challenge(SSL *ssl, int *alert, void *context) noexcept nogil:
    """SSL_CTX_set_client_hello_cb(3): the only callback before a certificate is chosen."""
    cdef const unsigned char *offered = NULL
    cdef size_t length = 0
    if (not SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &offered, &length)
            or length != ACME_OFFER_BYTES or memcmp(offered, ACME_OFFER, ACME_OFFER_BYTES) != 0):
        return SSL_CLIENT_HELLO_SUCCESS
    with gil:
        return (<ChallengeContext>context).take(ssl)


cdef class ServerContext:
    """The TLS context for an app's clients.

    Args:
        name: 32 bytes at most. Sessions are resumed only in contexts of the same name, so it changes with every setting
            that a full handshake would check.
        certificates: Certificates for clients without a server name, one per kind of key.
        tickets: The keys of its session tickets.
        find: Called with a client's server name; returns `CertificateKeyPair`s, one per kind of key, or None to refuse.
            Not called for clients without a server name. May be None.
        versions: The lowest and the highest, "1.2" or "1.3".
        alpn: The protocols to choose from, best first; none to disable ALPN.
        client_authorities: Certificates in PEM form that verify clients'; empty to request none.
        client_must: Whether a client without one is refused.
        challenges: The context for validation by certificate authorities; None for none.

    Raises:
        TlsError: If a setting cannot be used.
    """

    def __init__(self, bytes name, tuple certificates, TicketKeys tickets, *, find=None, tuple versions=("1.2", "1.3"),
                 tuple alpn=(), bytes client_authorities=b"", bint client_must=True, ChallengeContext challenges=None):
        cdef CertificateKeyPair one
        self.ctx = _context(TLS_server_method(), versions)
        SSL_CTX_set_options(self.ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA)
        # Sessions are stored in tickets only, which every worker can decrypt.
        SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_timeout(self.ctx, TICKET_LIFETIME_S)
        if not SSL_CTX_set_session_id_context(self.ctx, <unsigned char *>PyBytes_AS_STRING(name), len(name)):
            raise _fault("the name of a context")
        self._tickets = tickets
        SSL_CTX_set_app_data(self.ctx, &tickets.set)
        SSL_CTX_set_tlsext_ticket_key_evp_cb(self.ctx, _ticket_key)
        for one in certificates:
            if not SSL_CTX_use_cert_and_key(self.ctx, one.leaf, one.key, one.chain, 1):
                raise _fault("a certificate cannot be used")
        SSL_CTX_set_tlsext_status_cb(self.ctx, _staple)
        self._find = find
        if find is not None:
            # The callback for certificates cannot choose the alert.
            SSL_CTX_set_tlsext_servername_callback(self.ctx, _choose_certificate)
            SSL_CTX_set_tlsext_servername_arg(self.ctx, <void *>self)
        self._challenges = challenges
        if challenges is not None:
            SSL_CTX_set_client_hello_cb(self.ctx, _look_for_challenge, <void *>challenges)
        self.alpn = wire_protocols(alpn)
        if alpn:
            SSL_CTX_set_alpn_select_cb(self.ctx, _choose_protocol, <void *>self)
        if client_authorities:
            _trust(self.ctx, client_authorities, True)
            must = SSL_VERIFY_FAIL_IF_NO_PEER_CERT if client_must else 0
            SSL_CTX_set_verify(self.ctx, SSL_VERIFY_PEER | must, NULL)

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)

    cdef int choose(self, void *ssl, int *alert) noexcept:
        """Set the certificates for a server name, or refuse the handshake with an alert.

        RFC 6066 section 3 defines unrecognized_name for a name without certificate; faults of this side are
        internal_error.
        """
        cdef const char *name = SSL_get_servername(<SSL *>ssl, TLSEXT_NAMETYPE_host_name)
        self._refusal = None
        if name == NULL:
            return SSL_TLSEXT_ERR_NOACK
        try:
            found = self._find((<bytes>name).decode("ascii", "replace"))
            if found is not None:
                self._use(ssl, found)
                return SSL_TLSEXT_ERR_OK
            self._refusal = "unrecognized name"
            alert[0] = SSL_AD_UNRECOGNIZED_NAME
        except Exception as exc:
            self._refusal = exc
            alert[0] = SSL_AD_INTERNAL_ERROR
        return SSL_TLSEXT_ERR_ALERT_FATAL

    cdef int _use(self, void *ssl, object certificates) except -1:
        cdef CertificateKeyPair one
        if certificates:  # a certificate of the context with another kind of key would be preferred
            SSL_certs_clear(<SSL *>ssl)
        for one in certificates:
            if not SSL_use_cert_and_key(<SSL *>ssl, one.leaf, one.key, one.chain, 1):
                raise _fault("a certificate cannot be used")
        return 0

    cdef object take_refusal(self):
        """Return and reset why `choose` refused the handshake that has just failed; None if it did not."""
        refusal, self._refusal = self._refusal, None
        return refusal


cdef int _choose_certificate(SSL *ssl, int *alert, void *context) noexcept nogil:
    with gil:
        return (<ServerContext>context).choose(ssl, alert)


cdef int _choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *offered,
                          unsigned int length, void *context) noexcept nogil:
    """Choose the first of the edge's protocols that the client offers; without one, alert (RFC 7301 section 3.2)."""
    cdef unsigned char *ours
    cdef unsigned int ours_length
    with gil:
        ours = <unsigned char *>PyBytes_AS_STRING((<ServerContext>context).alpn)
        ours_length = <unsigned int>PyBytes_GET_SIZE((<ServerContext>context).alpn)
    if SSL_select_next_proto(<unsigned char **>out, out_length, ours, ours_length, offered, length) \
            != OPENSSL_NPN_NEGOTIATED:
        return SSL_TLSEXT_ERR_ALERT_FATAL
    return SSL_TLSEXT_ERR_OK


cdef int _ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                     int encrypts) noexcept nogil:
    """SSL_CTX_set_tlsext_ticket_key_evp_cb(3): 1 to go on, 2 to go on and write a new ticket, 0 for an unknown key."""
    cdef KeySet *known = <KeySet *>SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))
    cdef unsigned char *key
    cdef int i
    if known == NULL:  # a ChallengeContext
        return 0
    if encrypts:
        if known.count == 0 or RAND_bytes(iv, 16) <= 0:
            return 0
        key = known.keys[0]
        memcpy(name, key, TICKET_NAME_BYTES)
        if not EVP_EncryptInit_ex(cipher, _ticket_cipher, NULL, key + 16, iv) or not set_hmac_key(mac, key + 48, 32):
            return -1
        return 1
    for i in range(known.count):
        key = known.keys[i]
        if memcmp(name, key, TICKET_NAME_BYTES) == 0:
            if (not set_hmac_key(mac, key + 48, 32)
                    or not EVP_DecryptInit_ex(cipher, _ticket_cipher, NULL, key + 16, iv)):
                return -1
            # RFC 8446 section C.4: a client should not use a ticket twice, so it gets a new one.
            return 1 if i == 0 and SSL_version(ssl) != TLS1_3_VERSION else 2
    return 0


cdef int _staple(SSL *ssl, void *arg) noexcept nogil:
    """RFC 6066 section 8: the OCSP response of the chosen certificate, of which OpenSSL then owns a copy."""
    cdef X509 *leaf = SSL_get_certificate(ssl)
    cdef Staple *staple = <Staple *>X509_get_ex_data(leaf, _staple_index) if leaf != NULL else NULL
    cdef unsigned char *copy
    if staple == NULL:
        return SSL_TLSEXT_ERR_NOACK
    copy = <unsigned char *>OPENSSL_malloc(staple.length)
    if copy == NULL:
        return SSL_TLSEXT_ERR_NOACK
    memcpy(copy, staple + 1, staple.length)
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, staple.length)
    return SSL_TLSEXT_ERR_OK


cdef class ClientContext:
    """The TLS context for origins.

    Args:
        verifies: Whether their certificates are verified.
        authorities: Certificates in PEM form that verify them; empty for the machine's own.
        certificate: The certificate for origins that request one.
        versions: The lowest and the highest, "1.2" or "1.3".
        alpn: The protocols to offer if the client negotiated none.

    Raises:
        TlsError: If a setting cannot be used.
    """

    def __init__(self, bint verifies, *, bytes authorities=b"", CertificateKeyPair certificate=None,
                 tuple versions=("1.2", "1.3"), tuple alpn=()):
        self.ctx = _context(TLS_client_method(), versions)
        self.verifies = verifies
        self.alpn = wire_protocols(alpn)
        SSL_CTX_set_session_cache_mode(self.ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL)
        SSL_CTX_sess_set_new_cb(self.ctx, _remember)
        if verifies:
            SSL_CTX_set_verify(self.ctx, SSL_VERIFY_PEER, NULL)
            if authorities:
                _trust(self.ctx, authorities, False)
            elif not SSL_CTX_set_default_verify_paths(self.ctx):
                raise _fault("this machine has no authorities")
        if certificate is not None and not SSL_CTX_use_cert_and_key(
                self.ctx, certificate.leaf, certificate.key, certificate.chain, 1):
            raise _fault("the certificate for origins cannot be used")

    def __dealloc__(self):
        SSL_CTX_free(self.ctx)


cdef int _remember(SSL *ssl, SSL_SESSION *session) noexcept nogil:
    """Store the latest session of an origin to resume it; return 1 to take ownership."""
    cdef Remembered *remembered = <Remembered *>SSL_get_app_data(ssl)
    SSL_SESSION_free(remembered.session)
    remembered.session = session
    return 1


cdef class TlsPeer:
    """The TLS settings for one origin, and its latest session.

    Args:
        context: The context of its app.
        name: The host name, or the address, that its certificate must have; a host name is sent as server name.
        is_address: Whether it is an address, which is never sent (RFC 6066 section 3).
    """

    def __init__(self, ClientContext context, str name, bint is_address):
        self.context = context
        self.name = name
        self.host = b"" if is_address else name.encode("ascii")
        self.address = name.encode("ascii") if is_address else b""

    def __dealloc__(self):
        SSL_SESSION_free(self.remembered.session)
