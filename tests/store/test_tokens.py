from dataclasses import replace

import pytest

from spectrum.store.tokens import TEXT, StoredToken, TokenIndex, digest, new_token


def stored(text, token_id="1"):
    return StoredToken(token_id, "deploy", digest(text), {}, 0.0, 0.0)


def test_a_token_is_what_official_clients_take():
    text = new_token()
    assert TEXT.fullmatch(text)
    assert text.startswith("sp_")
    assert text != new_token()


def test_a_token_is_found_by_its_text():
    texts = [new_token() for _ in range(50)]
    index = TokenIndex(stored(text, str(number)) for number, text in enumerate(texts))
    assert [index.find(text).id for text in texts] == [str(number) for number in range(50)]
    assert index.find(new_token()) is None


@pytest.mark.parametrize("text", ["", "sp_", "x" * 39, "x" * 81, "ü" * 40, "x" * 40 + "\n", " " * 40, "x" * 1_000_000])
def test_invalid_tokens(text):
    assert TokenIndex([stored("x" * 40)]).find(text) is None


def test_digests_that_begin_alike_are_told_apart():
    text = new_token()
    other = replace(stored(text), digest=digest(text)[:-1] + "-", id="2")
    assert TokenIndex([other, stored(text)]).find(text).id == "1"
    assert TokenIndex([other]).find(text) is None


def test_a_digest_is_plain_sha256():
    assert digest("abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
