"""An origin in the test's own process, and a client."""

import socket
import ssl
import threading


def echoing(kind):
    """Return the port of a socket whose clients get back what they send."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))

    def answer(connection):
        with connection:
            while data := connection.recv(1000):
                connection.sendall(data)

    def serve():
        if kind == socket.SOCK_DGRAM:
            while True:
                data, client = sock.recvfrom(1000)
                sock.sendto(data, client)
        sock.listen()
        while True:
            threading.Thread(target=answer, args=(sock.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return sock.getsockname()[1]


def certificate_at(port, name, authority):
    """Return the certificate, in DER form, of an edge whose origin echoes, after bytes went there and back by TLS."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port), 5) as sock,
        context.wrap_socket(sock, server_hostname=name) as stream,
    ):
        stream.sendall(b"hello")
        assert stream.recv(10) == b"hello"
        return stream.getpeercert(binary_form=True)
