"""The filter of the file: a blocked client does not reach the edge, a guarded one always does."""

from tests.e2e.hosts import edge, spectrum
from tests.engine.harness import eventually

VISIT = """
import socket, sys
for source in sys.argv[1:]:
    try:
        with socket.create_connection(("10.231.1.1", 7000), 0.4, source_address=(source, 0)) as sock:
            print("reset" if not sock.recv(10) else "?")  # no origin answers, so the edge ends it
    except ConnectionError:
        print("reset")
    except TimeoutError:
        print("nothing")
"""


PING = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for size in (10, 700, 10, 800):
        sock.sendto(bytes(size), ("10.231.1.1", 7000))
"""


def test_rules_and_samples(hosts, start, tmp_path, filesystem):
    control = edge(
        start,
        tmp_path,
        f"kernel: {{bpffs: {filesystem}}}\n"
        "filter:\n  interfaces: [e1a]\n  guard: [10.231.1.99/32]\n  sample_one_in: 1\n"
        "  rules:\n    all: {version: 4, protocol: udp, destination_port: 7000, payload: '0?00', action: log}\n"
        "    large: {protocol: udp, destination_port: 7000, length: 500-1500}\n"
        "apps: {x: {protocol: udp/7000, origin_direct: ['udp://127.0.0.1:1']}}",
    )
    hosts.python("c", PING)
    by = ("--by", "verdict,source,protocol,destination_port", "--seconds", "60")

    def said():
        return hosts.call("e", *spectrum("samples", "--socket", control, *by))

    def shown(verdict):
        wanted = [*verdict.split(), "10.231.1.2", "udp", "7000"]
        return any(line.split()[: len(wanted)] == wanted for line in said().splitlines())

    eventually(lambda: shown("rule large") and shown("passed"), 5, said)
    status = hosts.call("e", *spectrum("kernel", "status"), "--bpffs", filesystem)
    assert "filter: rule large: 2 packets, 1584 bytes" in status
    assert "filter: rule all: 4 packets" in status, "counted, and decided by others"
    refused = hosts.call("e", *spectrum("samples", "--socket", control, "--by", "colour"), check=False)
    assert refused == ""
    assert "filter on: e1a" in hosts.call("e", *spectrum("status", "--socket", control))


def test_a_list_that_changes(hosts, start, tmp_path, filesystem):
    for last in (3, 4):
        hosts.ip("c", "address", "add", f"10.231.1.{last}/24", "dev", "e1b")
    drop = tmp_path / "drop.txt"
    drop.write_text("10.231.1.0/29\n")
    edge(
        start,
        tmp_path,
        f"kernel: {{bpffs: {filesystem}}}\n"
        f"filter: {{interfaces: [e1a], guard: [10.231.1.2/32], lists: {{drop: {{file: {drop}}}}}}}\n"
        "apps: {x: {protocol: tcp/7000, origin_direct: ['tcp://127.0.0.1:1']}}",
    )

    def visit():
        return hosts.python("c", VISIT, "10.231.1.2", "10.231.1.3", "10.231.1.4").split()

    assert visit() == ["reset", "nothing", "nothing"]
    drop.write_text("10.231.1.3\n")
    eventually(lambda: visit() == ["reset", "nothing", "reset"], 30, start.printed)
    said = hosts.call("e", *spectrum("kernel", "status"), "--bpffs", filesystem)
    assert "filter: on (v2): e1a" in said
    assert "filter: list drop: " in said
    supervisor = start.running[-1]
    supervisor.terminate()
    supervisor.wait(10)
    assert "filter: off" in hosts.call("e", *spectrum("kernel", "status"), "--bpffs", filesystem)
