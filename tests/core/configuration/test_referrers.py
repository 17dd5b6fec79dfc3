from spectrum.core.configuration.referrers import Referrers


def test_who_refers_to_an_object():
    referrers = Referrers()
    one, other, pool = ("load_balancers", "one"), ("load_balancers", "other"), ("pools", "p")
    referrers.add(one, [pool, ("pools", "q"), pool])
    referrers.add(other, [pool])
    assert list(referrers.referrers_of(pool)) == [one, other]
    assert list(referrers.referrers_of(("pools", "q"))) == [one]
    assert not referrers.referrers_of(("pools", "nobody knows"))
    referrers.remove(one, [pool, ("pools", "q"), pool])
    assert list(referrers.referrers_of(pool)) == [other]
    referrers.remove(other, [pool])
    assert not referrers._by_named
