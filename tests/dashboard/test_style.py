"""The colours of the dashboard: what is written is legible on every ground, in both themes."""

import re

import pytest

from spectrum.api.dashboard import FOLDER

TOKEN = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
TOKENS = {name: (light, dark) for name, light, dark in TOKEN.findall((FOLDER / "css/tokens.css").read_text())}
GROUNDS = ("page", "surface", "sunken", "hover", "selected")
WASHES = ("passed", "mitigated", "failed", "degraded")


def luminance(color):
    """WCAG 2.2, relative luminance."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return sum(weight * one for weight, one in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other, theme):
    """WCAG 2.2, contrast ratio."""
    high, low = sorted((luminance(TOKENS[name][theme]) for name in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_is_legible(theme):
    texts = ("ink", "ink-2", "ink-3", *(f"{one}-text" for one in WASHES))
    found = {(text, ground): contrast(text, ground, theme) for text in texts for ground in GROUNDS}
    found |= {(f"{one}-text", f"{one}-wash"): contrast(f"{one}-text", f"{one}-wash", theme) for one in WASHES}
    found |= {
        (text, f"{one}-wash"): contrast(text, f"{one}-wash", theme) for text in ("ink", "ink-2") for one in WASHES
    }
    found["on-ink", "ink"] = contrast("on-ink", "ink", theme)
    assert min(found.values()) >= 4.5, sorted(found.items(), key=lambda item: item[1])[:5]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_edges_can_be_seen(theme):
    found = {
        (one, ground): contrast(one, ground, theme) for one in ("control", "focus") for ground in ("page", "surface")
    }
    assert min(found.values()) >= 3, found


def test_every_colour_is_a_token():
    known = set(TOKENS) | {"shadow", "sans", "mono"}
    for path in FOLDER.rglob("*"):
        if path.suffix in (".css", ".js"):
            text = path.read_text()
            used = set(re.findall(r"var\(--([\w-]+)\)", text))
            assert used <= known | set(re.findall(r"--([\w-]+):", text)), (path, used - known)
