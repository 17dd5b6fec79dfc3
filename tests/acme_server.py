"""A real ACME server, acme2certifier, in a process of its own: HTTPS on a port, an authority, a name server for it.

As a program it is that process: the folder with `acme_srv.cfg`, the port, files with a certificate and its key, and the
file with how it is to be disturbed.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import dns.message
import dns.query

from tests.certificates import Authority, key_pem
from tests.e2e.programs import Programs
from tests.engine.harness import eventually

# Let's Encrypt asks these, too: HTTP, DNS for this server's own look-ups, TLS.
PORTS = (80, 53, 443)
KNOT = """
server:
  rundir: {folder}
  listen: 127.0.0.1@53
database:
  storage: {folder}
key:
  - id: ours
    algorithm: hmac-sha256
    secret: c2VjcmV0c2VjcmV0
acl:
  - id: updates
    key: ours
    action: update
zone:
  - domain: example.org
    storage: {folder}
    acl: updates
    zonefile-sync: -1
    journal-content: none
"""
ZONE = """
$ORIGIN example.org.
@ 1 SOA ns admin 1 60 60 60 1
@ NS ns
ns A 127.0.0.1
a A 127.0.0.1
b A 127.0.0.1
"""
TSIG = 'key "ours" {\n  algorithm hmac-sha256;\n  secret "c2VjcmV0c2VjcmV0";\n};\n'
CONFIG = """
[DEFAULT]
debug: False
dns_server_list: ["127.0.0.1"]
[Nonce]
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/ca.key
issuing_ca_cert: {folder}/ca.pem
issuing_ca_crl: {folder}/crl.pem
cert_save_path: {folder}/issued
cert_validity_days: {days}
[DBhandler]
handler_module: acme2certifier.dbhandlers.wsgi_handler
dbfile: {folder}/acme.db
[Certificate]
revocation_reason_check_disable: False
[Order]
tnauthlist_support: False
[Renewalinfo]
renewal_force: {renews}
"""


def ports_are_free():
    """Whether the ports that CAs ask can be had here: as root, in a namespace of its own."""
    for port in PORTS:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            return False
    return True


@contextlib.contextmanager
def names(folder):
    """A name server for example.org, whose zone takes updates that are signed with the key in `tsig`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "example.org.zone").write_text(ZONE)
    (folder / "knot.conf").write_text(KNOT.format(folder=folder))
    (folder / "tsig").write_text(TSIG)
    programs = Programs(folder)
    process = programs.start("knotd", "-c", folder / "knot.conf")
    eventually(lambda: lookup("a.example.org", "A"), 20, lambda: programs.output(process))
    try:
        yield folder / "tsig"
    finally:
        programs.stop()


def lookup(name, kind):
    """Return what the name server answers."""
    query = dns.message.make_query(name, kind)
    try:
        answer = dns.query.tcp(query, "127.0.0.1", 1, 53)
    except (OSError, EOFError):
        return []
    return [record.to_text() for found in answer.answer for record in found]


class AcmeServer:
    """The server; `with` ends it.

    Attributes:
        authority: What it signs with.
        url: Of its directory.
        ca: The file with the authority of its own certificate.
    """

    def __init__(self, folder, port=14000, days=30, renews=False):
        self.folder, self.port = folder, port
        (folder / "issued").mkdir(parents=True, exist_ok=True)
        self.authority = Authority("acme test authority")
        (folder / "ca.key").write_bytes(key_pem(self.authority.key))
        (folder / "ca.pem").write_bytes(self.authority.pem)
        (folder / "crl.pem").write_bytes(self.authority.revocations())
        (folder / "acme_srv.cfg").write_text(CONFIG.format(folder=folder, days=days, renews=renews))
        own = Authority("acme server's own")
        self.ca = folder / "own.pem"
        self.ca.write_bytes(own.pem)
        self._files = own.issue("127.0.0.1").write(folder, "server")
        self._trouble = folder / "trouble"
        self.url = f"https://127.0.0.1:{port}/directory"
        self._process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        command = [sys.executable, "-m", "tests.acme_server", str(self.folder), str(self.port), *map(str, self._files)]
        with (self.folder / "server.log").open("ab") as out:
            env = os.environ | {"ACME_SRV_CONFIGFILE": str(self.folder / "acme_srv.cfg")}
            self._process = subprocess.Popen(
                [*command, str(self._trouble)], stdout=out, stderr=out, env=env, cwd=Path(__file__).parent.parent
            )
        eventually((self.folder / "ready").exists, 60, self.log)

    def stop(self):
        self._process.kill()
        self._process.wait()
        (self.folder / "ready").unlink(missing_ok=True)

    def freeze(self):
        """Answer nothing, and lose nothing, until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def trouble(self, path, answer):
        """Answer requests for a path that begins so with a status, a header line and a body, until it is "" again."""
        self._trouble.write_text(f"{path}\n{answer}" if path else "")

    def requests(self, path):
        """How many requests there were for a path that begins so."""
        return self.log().count(f'"POST {path}')

    def issued(self):
        """How many certificates were signed."""
        return len(list((self.folder / "issued").iterdir()))

    def log(self):
        return (self.folder / "server.log").read_text()


def serve(folder, port, chain, key, trouble):
    import socketserver
    import ssl
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    from acme2certifier.share.acme2certifier_wsgi import application

    class Server(socketserver.ThreadingMixIn, WSGIServer):
        daemon_threads = True

        def server_bind(self):
            super().server_bind()
            self.server_name = "127.0.0.1"

    def disturbed(environ, start_response):
        environ["wsgi.url_scheme"] = "https"
        told = Path(trouble).read_text() if Path(trouble).exists() else ""
        path, _, answer = told.partition("\n")
        if path and environ["PATH_INFO"].startswith(path):
            status, header, body = answer.split("\n")
            name, _, value = header.partition(": ")
            start_response(status, [("Content-Type", "application/problem+json"), (name, value)])
            return [body.encode()]
        return application(environ, start_response)

    class Handler(WSGIRequestHandler):
        def get_environ(self):
            return super().get_environ() | {"HTTPS": "on"}

    server = Server(("127.0.0.1", int(port)), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.set_app(disturbed)
    Path(folder, "ready").touch()
    server.serve_forever()


if __name__ == "__main__":
    serve(*sys.argv[1:])
