from spectrum.core.records.journald import entry


def test_an_entry():
    fields = {"Status": 403, "ClientIP": "192.0.2.1", "OriginTcpRtt": 5}
    assert entry(fields, fields, b"a client", "edge") == (
        b"MESSAGE=a client\nPRIORITY=5\nSYSLOG_IDENTIFIER=edge\n"
        b"SPECTRUM_STATUS=403\nSPECTRUM_CLIENT_IP=192.0.2.1\nSPECTRUM_ORIGIN_TCP_RTT=5\n"
    )


def test_a_value_of_several_lines_has_its_length():
    assert b"SPECTRUM_TLS_ERROR\n\3\0\0\0\0\0\0\0a\nb\n" in entry({"Status": 1}, {"TlsError": "a\nb"}, b"", "x")
