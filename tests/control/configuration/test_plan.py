import pytest

from spectrum.control.configuration.actor import Change, RolloutError
from spectrum.control.configuration.loader import KnownObjects, load_text
from spectrum.control.configuration.plan import Planner
from spectrum.core.snapshot import MAX_NUMBERS
from tests.certificates import Authority

APPS = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80'], ip_firewall: true}}\n"


def pools(*names):
    each = ", ".join(f"{name}: {{origins: [{{name: o, address: 192.0.2.1, port: 1}}]}}" for name in names)
    return load_text(f"{APPS}pools: {{{each}}}", "f")


async def test_origins_that_stay_keep_their_numbers():
    planner = Planner(lambda paths: None, lambda number: False)
    nothing = planner.plan(load_text(APPS, "f"), 1)
    one = planner.plan(pools("a", "b"), 1)
    await planner.commit(Change(nothing, one))
    other = planner.plan(pools("b", "c"), 2)
    assert other.snapshot.generation == 2
    shared = one.numbers.keys() & other.numbers.keys()
    assert shared and all(one.numbers[label] == other.numbers[label] for label in shared)
    await planner.commit(Change(one, other))
    await planner.abort(Change(one, other))
    assert planner.plan(pools("a", "b"), 2).numbers == one.numbers


def test_numbers_that_sessions_are_counted_by_are_not_given_again():
    planner = Planner(lambda paths: None, lambda number: True)
    planner._numbers.keep({"gone": MAX_NUMBERS})
    with pytest.raises(RolloutError, match="too many origins were replaced"):
        planner.plan(pools("a"), 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("access_rules: {bad: {target: ip_range, file: FILE, action: block}}", "access rule bad: FILE: cannot be"),
        ("certificates: {c: {certificate: FILE, key: FILE}}", "certificates.c.certificate: FILE: cannot be read"),
    ],
)
def test_what_a_configuration_names_may_be_gone(tmp_path, text, says):
    chain, key = Authority().issue("a.example").write(tmp_path, "a")
    listed = tmp_path / "list"
    listed.write_text("192.0.2.1\n")
    place = chain if "certificates" in text else listed
    given = text.replace("FILE", str(place), 1).replace("FILE", str(key))
    config, read = load_text(APPS + given, "f"), []
    planner = Planner(read.extend, lambda number: False)
    planner.plan(config, 1)
    assert place in read
    place.unlink()
    with pytest.raises(RolloutError) as caught:
        planner.plan(config, 1)
    assert str(caught.value).startswith(says.replace("FILE", str(place)))


def test_an_app_that_is_the_same_object_is_compiled_once():
    planner = Planner(lambda paths: None, lambda number: False)
    known = KnownObjects()
    text = "apps: {{a: {{protocol: tcp/1, origin_direct: ['tcp://192.0.2.1:{}']}}, b: {{protocol: tcp/2, {}}}}}"
    where = "origin_direct: ['tcp://192.0.2.1:1']"
    first = planner.plan(load_text(text.format(1, where), "x", known=known), 1).snapshot
    second = planner.plan(load_text(text.format(2, where), "x", known=known), 2).snapshot
    assert second.apps[1] is first.apps[1]
    assert [app.origins for app in (first.apps[0], second.apps[0])] == [(("192.0.2.1", 1),), (("192.0.2.1", 2),)]
