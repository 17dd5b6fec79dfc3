"""Declarations of OpenSSL 3 (openssl.org, man 3), and a few lines of C where its interface is macros."""

cdef extern from "<openssl/ssl.h>" nogil:
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass
    ctypedef struct SSL_METHOD:
        pass
    ctypedef struct SSL_SESSION:
        pass
    ctypedef struct SSL_CIPHER:
        pass
    ctypedef struct BIO:
        pass
    ctypedef struct BIO_METHOD:
        pass
    ctypedef struct X509:
        pass
    ctypedef struct X509_NAME:
        pass
    ctypedef struct X509_STORE:
        pass
    ctypedef struct X509_VERIFY_PARAM:
        pass
    ctypedef struct EVP_PKEY:
        pass
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MAC_CTX:
        pass
    ctypedef struct OSSL_PARAM:
        pass
    ctypedef struct X509_STACK "STACK_OF(X509)":
        pass
    ctypedef struct X509_NAME_STACK "STACK_OF(X509_NAME)":
        pass
    ctypedef struct GENERAL_NAMES:
        pass
    ctypedef struct ASN1_STRING:
        pass
    ctypedef struct X509_NAME_ENTRY:
        pass

    const SSL_METHOD *TLS_server_method()
    const SSL_METHOD *TLS_client_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
    void SSL_CTX_free(SSL_CTX *ctx)
    int SSL_CTX_set_min_proto_version(SSL_CTX *ctx, int version)
    int SSL_CTX_set_max_proto_version(SSL_CTX *ctx, int version)
    int SSL_CTX_set_cipher_list(SSL_CTX *ctx, const char *text)
    unsigned long SSL_CTX_set_options(SSL_CTX *ctx, unsigned long options)
    long SSL_CTX_set_mode(SSL_CTX *ctx, long mode)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *ctx, long mode)
    long SSL_CTX_set_timeout(SSL_CTX *ctx, long seconds)
    int SSL_CTX_set_session_id_context(SSL_CTX *ctx, const unsigned char *name, unsigned int length)
    int SSL_CTX_use_cert_and_key(SSL_CTX *ctx, X509 *leaf, EVP_PKEY *key, X509_STACK *chain, int override)
    int SSL_use_cert_and_key(SSL *ssl, X509 *leaf, EVP_PKEY *key, X509_STACK *chain, int override)
    void SSL_certs_clear(SSL *ssl)
    long SSL_CTX_set_tlsext_servername_callback(
        SSL_CTX *ctx, int (*chosen)(SSL *ssl, int *alert, void *arg) noexcept nogil)
    long SSL_CTX_set_tlsext_servername_arg(SSL_CTX *ctx, void *arg)
    void SSL_CTX_set_verify(SSL_CTX *ctx, int mode, void *callback)
    X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *ctx)
    int SSL_CTX_set_default_verify_paths(SSL_CTX *ctx)
    int SSL_CTX_add_client_CA(SSL_CTX *ctx, X509 *ca)
    void SSL_CTX_set_alpn_select_cb(
        SSL_CTX *ctx,
        int (*choose)(SSL *ssl, const unsigned char **out, unsigned char *out_length, const unsigned char *offered,
                      unsigned int length, void *arg) noexcept nogil,
        void *arg)
    int SSL_select_next_proto(unsigned char **out, unsigned char *out_length, const unsigned char *server,
                              unsigned int server_length, const unsigned char *client, unsigned int client_length)
    int SSL_CTX_set_tlsext_ticket_key_evp_cb(
        SSL_CTX *ctx,
        int (*key)(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                   int encrypts) noexcept nogil)
    long SSL_CTX_set_tlsext_status_cb(SSL_CTX *ctx, int (*staple)(SSL *ssl, void *arg) noexcept nogil)
    long SSL_set_tlsext_status_ocsp_resp(SSL *ssl, unsigned char *response, long length)
    void SSL_CTX_sess_set_new_cb(SSL_CTX *ctx, int (*new)(SSL *ssl, SSL_SESSION *session) noexcept nogil)
    void SSL_CTX_set_app_data(SSL_CTX *ctx, void *data)
    void *SSL_CTX_get_app_data(const SSL_CTX *ctx)

    void SSL_CTX_set_client_hello_cb(
        SSL_CTX *ctx, int (*read)(SSL *ssl, int *alert, void *arg) noexcept nogil, void *arg)
    int SSL_client_hello_get0_ext(SSL *ssl, unsigned int kind, const unsigned char **data, size_t *length)

    SSL *SSL_new(SSL_CTX *ctx)
    void SSL_free(SSL *ssl)
    SSL_CTX *SSL_get_SSL_CTX(const SSL *ssl)
    SSL_CTX *SSL_set_SSL_CTX(SSL *ssl, SSL_CTX *ctx)
    void SSL_set_verify(SSL *ssl, int mode, void *callback)
    unsigned long SSL_set_options(SSL *ssl, unsigned long options)
    int SSL_set_num_tickets(SSL *ssl, size_t count)
    void SSL_set_app_data(SSL *ssl, void *data)
    void *SSL_get_app_data(const SSL *ssl)
    void SSL_set_bio(SSL *ssl, BIO *reads, BIO *writes)
    void SSL_set_accept_state(SSL *ssl)
    void SSL_set_connect_state(SSL *ssl)
    int SSL_do_handshake(SSL *ssl)
    int SSL_read(SSL *ssl, void *into, int room)
    int SSL_write(SSL *ssl, const void *data, int size)
    int SSL_shutdown(SSL *ssl)
    int SSL_get_shutdown(const SSL *ssl)
    void SSL_set_shutdown(SSL *ssl, int mode)
    int SSL_get_error(const SSL *ssl, int outcome)
    int SSL_set_session(SSL *ssl, SSL_SESSION *session)
    void SSL_SESSION_free(SSL_SESSION *session)
    int SSL_session_reused(const SSL *ssl)
    const char *SSL_get_version(const SSL *ssl)
    int SSL_version(const SSL *ssl)
    const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl)
    const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher)
    const char *SSL_get_servername(const SSL *ssl, int kind)
    void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **data, unsigned int *length)
    int SSL_set_alpn_protos(SSL *ssl, const unsigned char *protocols, unsigned int length)
    long SSL_set_tlsext_host_name(SSL *ssl, const char *name)
    int SSL_set1_host(SSL *ssl, const char *name)
    void SSL_set_hostflags(SSL *ssl, unsigned int flags)
    X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
    X509 *SSL_get_certificate(const SSL *ssl)
    X509 *SSL_get0_peer_certificate(const SSL *ssl)
    long SSL_get_verify_result(const SSL *ssl)

    int TLS1_2_VERSION
    int TLS1_3_VERSION
    unsigned long SSL_OP_NO_RENEGOTIATION
    unsigned long SSL_OP_NO_COMPRESSION
    unsigned long SSL_OP_NO_TICKET
    unsigned long SSL_OP_CIPHER_SERVER_PREFERENCE
    unsigned long SSL_OP_PRIORITIZE_CHACHA
    long SSL_MODE_RELEASE_BUFFERS
    long SSL_SESS_CACHE_OFF
    long SSL_SESS_CACHE_CLIENT
    long SSL_SESS_CACHE_NO_INTERNAL
    int SSL_VERIFY_NONE
    int SSL_VERIFY_PEER
    int SSL_VERIFY_FAIL_IF_NO_PEER_CERT
    int SSL_ERROR_WANT_READ
    int SSL_ERROR_ZERO_RETURN
    int SSL_SENT_SHUTDOWN
    int SSL_RECEIVED_SHUTDOWN
    int SSL_R_CERTIFICATE_VERIFY_FAILED
    int SSL_TLSEXT_ERR_OK
    int SSL_TLSEXT_ERR_NOACK
    int SSL_TLSEXT_ERR_ALERT_FATAL
    int SSL_AD_INTERNAL_ERROR
    int SSL_AD_UNRECOGNIZED_NAME
    int OPENSSL_NPN_NEGOTIATED
    int TLSEXT_NAMETYPE_host_name
    unsigned int TLSEXT_TYPE_application_layer_protocol_negotiation
    int SSL_CLIENT_HELLO_SUCCESS

cdef extern from "<openssl/bio.h>" nogil:
    BIO_METHOD *BIO_meth_new(int kind, const char *name)
    int BIO_meth_set_read(BIO_METHOD *method, int (*read)(BIO *bio, char *into, int room) noexcept nogil)
    int BIO_meth_set_write(BIO_METHOD *method, int (*write)(BIO *bio, const char *data, int size) noexcept nogil)
    int BIO_meth_set_ctrl(
        BIO_METHOD *method, long (*ctrl)(BIO *bio, int command, long number, void *pointer) noexcept nogil)
    int BIO_get_new_index()
    BIO *BIO_new(const BIO_METHOD *method)
    BIO *BIO_new_mem_buf(const void *data, int size)
    int BIO_free(BIO *bio)
    void BIO_set_data(BIO *bio, void *data)
    void *BIO_get_data(BIO *bio)
    void BIO_set_init(BIO *bio, int yes)
    void BIO_set_retry_read(BIO *bio)
    void BIO_clear_retry_flags(BIO *bio)
    int BIO_TYPE_SOURCE_SINK
    int BIO_CTRL_FLUSH

cdef extern from "<openssl/x509v3.h>" nogil:
    X509 *PEM_read_bio_X509(BIO *bio, X509 **into, void *callback, void *arg)
    EVP_PKEY *PEM_read_bio_PrivateKey(BIO *bio, EVP_PKEY **into, void *callback, void *arg)
    void X509_free(X509 *leaf)
    void EVP_PKEY_free(EVP_PKEY *key)
    int X509_check_private_key(const X509 *leaf, const EVP_PKEY *key)
    X509_STACK *sk_X509_new_null()
    int sk_X509_push(X509_STACK *stack, X509 *one)
    int sk_X509_num(const X509_STACK *stack)
    X509 *sk_X509_value(const X509_STACK *stack, int index)
    int X509_STORE_add_cert(X509_STORE *store, X509 *ca)
    int X509_set_ex_data(X509 *leaf, int index, void *data)
    void *X509_get_ex_data(const X509 *leaf, int index)
    X509_NAME *X509_get_subject_name(const X509 *leaf)
    int X509_NAME_get_index_by_NID(const X509_NAME *name, int kind, int after)
    X509_NAME_ENTRY *X509_NAME_get_entry(const X509_NAME *name, int index)
    ASN1_STRING *X509_NAME_ENTRY_get_data(const X509_NAME_ENTRY *entry)
    int ASN1_STRING_to_UTF8(unsigned char **out, const ASN1_STRING *text)
    int X509_get_signature_nid(const X509 *leaf)
    EVP_PKEY *X509_get0_pubkey(const X509 *leaf)
    int EVP_PKEY_get_base_id(const EVP_PKEY *key)
    int EVP_PKEY_get_bits(const EVP_PKEY *key)
    const char *OBJ_nid2sn(int kind)
    int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *param, const char *address)
    const char *X509_verify_cert_error_string(long error)
    unsigned int X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
    int NID_commonName
    int EVP_PKEY_RSA
    int EVP_PKEY_EC

cdef extern from "<openssl/evp.h>" nogil:
    EVP_CIPHER *EVP_CIPHER_fetch(void *library, const char *name, const char *properties)
    int EVP_EncryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
                           const unsigned char *iv)
    int EVP_DecryptInit_ex(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, void *engine, const unsigned char *key,
                           const unsigned char *iv)
    int EVP_MAC_CTX_set_params(EVP_MAC_CTX *ctx, const OSSL_PARAM *params)
    void *OPENSSL_malloc(size_t size)
    void OPENSSL_free(void *block)

cdef extern from "<openssl/rand.h>" nogil:
    int RAND_bytes(unsigned char *into, int count)

cdef extern from "<openssl/err.h>" nogil:
    void ERR_clear_error()
    unsigned long ERR_peek_error()
    int ERR_GET_REASON(unsigned long error)
    const char *ERR_reason_error_string(unsigned long error)

cdef extern from *:
    """
    #include <openssl/ssl.h>
    #include <openssl/core_names.h>

    static inline int set_hmac_key(EVP_MAC_CTX *ctx, unsigned char *key, size_t size)
    {
        OSSL_PARAM params[3] = {
            OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, size),
            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
            OSSL_PARAM_construct_end(),
        };
        return EVP_MAC_CTX_set_params(ctx, params);
    }
    static inline void free_certificates(STACK_OF(X509) *stack) { sk_X509_pop_free(stack, X509_free); }
    static void free_block(void *parent, void *block, CRYPTO_EX_DATA *all, int index, long number, void *pointer)
    {
        OPENSSL_free(block);
    }
    /* Of a block from OPENSSL_malloc that goes with its certificate. */
    static inline int new_x509_index(void) { return X509_get_ex_new_index(0, NULL, NULL, NULL, free_block); }
    """
    int set_hmac_key(EVP_MAC_CTX *ctx, unsigned char *key, size_t size) nogil
    int new_x509_index() nogil
    void free_certificates(X509_STACK *stack) nogil
