from spectrum.core.names import NameSettings, name_key


def test_keys():
    assert name_key(NameSettings("a.example", "", 60, 0, 0)) == "ANY a.example tcp 0-0"
    assert name_key(NameSettings("a.example", "AAAA", 60, 53, 54, "udp")) == "AAAA a.example udp 53-54"
