"""What a source includes, as far as it can be told without a compiler."""

import pytest

from spectrum.core.flow_programs.includes import includes


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("int x;\n/* includes nothing */\n", []),
        ('#include "kinds.h"\n', [("kinds.h", True)]),
        ("  #  include<spectrum_flow.h> // x", [("spectrum_flow.h", False)]),
        ('#inc\\\nlude \\\r\n"a b.h"', [("a b.h", True)]),
        ('/* first */ %:include_next "a.h"\n??=import <b.h>', [("a.h", True), ("b.h", False)]),
        ('#if __has_include ( "a.h")\n#include "a.h"\n#endif', [("a.h", True), ("a.h", True)]),
        ("#if defined X && __has_include(<a.h>)", [("a.h", False)]),
        # A comment that looks like it is read in vain.
        ('// #include "old.h"', [("old.h", True)]),
    ],
)
def test_names(source, found):
    assert includes(source) == found


@pytest.mark.parametrize(
    "source", ["#include KINDS\n", "#if __has_include(KINDS)\n", '#include "a', "#define F #include"]
)
def test_a_name_that_is_not_there(source):
    assert includes(source) is None
