import pytest

from spectrum.control.configuration.standing import line_of, standing

TEXT = """\
# apps of the office
pools:
  apps: {origins: []}
apps:  # all of them

  # the first one
  ssh:
    limits: {sessions: 1}
  'limits':
    protocol: tcp/2
  a.b: {protocol: tcp/3}
metrics: {listen: 127.0.0.1:1}
"""


@pytest.mark.parametrize(
    ("section", "name", "line"),
    [
        ("apps", "ssh", 7),
        ("apps", "limits", 9),
        ("apps", "a.b", 11),
        ("apps", "axb", None),
        ("apps", "listen", None),
        ("pools", "apps", 3),
        ("lists", "a", None),
    ],
)
def test_the_line_of_an_object(section, name, line):
    assert line_of(TEXT, section, name) == line


def test_other_styles_have_no_line():
    assert line_of("apps: {ssh: {protocol: tcp/1}}\n", "apps", "ssh") is None
    assert line_of("apps:\n", "apps", "ssh") is None
    assert line_of("apps:\n\tssh:\n", "apps", "ssh") == 2


def test_it_may_stand_in_a_file_that_is_included(tmp_path):
    main, included, folder = tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "conf.d"
    folder.mkdir()
    main.write_text("include: [b.yaml]\napps:\n  x: {}\n")
    included.write_text("apps:\n  y: {}\n")
    paths = [main, folder, included]
    assert standing(paths, "apps", "x") == (str(main), 3)
    assert standing(paths, "apps", "y") == (str(included), 2)
    assert standing(paths, "apps", "z") == (str(main), None)
