"""Real name servers for example.org, whose zone takes updates that are signed with the key in `tsig`: Knot and BIND."""

import dns.message
import dns.query

from tests.acme_server import KNOT, TSIG, ZONE
from tests.e2e.programs import Programs
from tests.engine.harness import eventually

NAMED = """
options {{
  directory "{folder}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile none;
  recursion no;
  notify no;
}};
controls {{ }};
include "{folder}/tsig";
zone "example.org" {{
  type primary;
  file "{folder}/example.org.zone";
  allow-update {{ key ours; }};
}};
"""


class NameServer:
    """One server on 127.0.0.1; `with` ends it.

    Args:
        folder: For its files.
        kind: "knot" or "bind".
        port: Its port.

    Attributes:
        key: The file with the key for updates.
        port: Its port.
    """

    def __init__(self, folder, kind, port):
        self.folder, self.kind, self.port, self.key = folder, kind, port, folder / "tsig"
        folder.mkdir(parents=True, exist_ok=True)
        self.key.write_text(TSIG)
        knot = KNOT.format(folder=folder).replace("127.0.0.1@53", f"127.0.0.1@{port}")
        (folder / "knot.conf").write_text(knot)
        (folder / "named.conf").write_text(NAMED.format(folder=folder, port=port))
        self.restore()
        self.start()

    def restore(self):
        """Write the zone as it was at first."""
        for old in self.folder.glob("*.jnl"):
            old.unlink()
        (self.folder / "example.org.zone").write_text(ZONE)

    def start(self):
        self.programs = Programs(self.folder)
        if self.kind == "knot":
            process = self.programs.start("knotd", "-c", self.folder / "knot.conf")
        else:
            process = self.programs.start("named", "-g", "-c", self.folder / "named.conf")
        eventually(lambda: self.lookup("a.example.org", "A"), 20, lambda: self.programs.output(process))

    def stop(self):
        self.programs.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def lookup(self, name, kind):
        """Return what it answers."""
        try:
            answer = dns.query.tcp(dns.message.make_query(name, kind), "127.0.0.1", 1, self.port)
        except (OSError, EOFError):
            return []
        return sorted(record.to_text() for found in answer.answer for record in found)
