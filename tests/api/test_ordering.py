from spectrum.api.ordering import Ordering, OrderingAuthority


def test_what_the_daemon_tells():
    ordering = Ordering()
    one = {"challenge": "http-01", "by_dns": True, "validity_days": 90}
    ordering.configure({"authorities": {"ours": one}, "certificates": 5, "orders_per_week": 9})
    assert ordering.authorities == {"ours": OrderingAuthority("http-01", True, 90)}
    assert (ordering.certificates, ordering.orders_per_week) == (5, 9)
    ordering.configure(None)
    assert (ordering.authorities, ordering.certificates) == ({}, 0)
