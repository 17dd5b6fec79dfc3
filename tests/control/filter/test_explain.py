import pytest

from spectrum.control.filter.explain import explain_filter
from spectrum.core.filter import Filter
from tests.plane.parts import Parts

APP = "apps: {x: {protocol: tcp/7000, origin_direct: ['tcp://192.0.2.9:22']}}"


def explained(client, **lists):
    settings = Filter.model_validate({"interfaces": ["lo"], "guard": ["192.0.2.0/24"], "lists": lists})
    return explain_filter(settings, Parts().compile(APP).apps[0], client)


def test_lists_of_the_file_and_of_their_own(tmp_path):
    path = tmp_path / "drop.txt"
    path.write_text("# spam\n203.0.113.0/24\n2001:db8::/32\n")
    lists = {"few": {"prefixes": ["198.51.100.0/24"]}, "many": {"file": str(path)}}
    assert f"list many contains it (203.0.113.0/24 in {path}:2)" in explained("203.0.113.8", **lists).steps[0]
    assert f"list many contains it (2001:db8::/32 in {path}:3)" in explained("2001:db8::8", **lists).steps[0]
    assert "list few contains it (198.51.100.0/24)" in explained("198.51.100.1", **lists).steps[0]
    assert not explained("198.51.101.1", **lists).drops
    path.unlink()  # the kernel has what was read of it
    assert not explained("203.0.113.8", **lists).drops
    assert not explained("203.0.113.8").drops
    with pytest.raises(ValueError):
        explained("x")
