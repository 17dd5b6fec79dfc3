from spectrum.control.configuration.loader import load_text
from spectrum.control.dns.needs import dns_faults

APPS = "apps: {a: {protocol: tcp/1, origin_direct: ['tcp://192.0.2.80:22']}}\n"


def test_a_key_that_cannot_be_used(tmp_path):
    key = tmp_path / "key"
    key.write_text('key "ours" { algorithm hmac-sha256; secret "c2VjcmV0"; };')
    config = load_text(f"dns: {{server: 192.0.2.53, zone: example.org, tsig_key: {key}}}\n{APPS}", "f")
    assert dns_faults(config) == dns_faults(load_text(APPS, "f")) == []
    key.unlink()
    (fault,) = dns_faults(config)
    assert (fault.path, "cannot be read" in fault.message) == (("dns", "tsig_key"), True)
