import pytest

from spectrum.api.token_book import TokenBook
from spectrum.store.errors import StoreFull
from spectrum.store.objects import file_id
from spectrum.store.store import Store
from spectrum.store.tokens import StoredToken, digest, new_token

POLICIES = [{"permissions": ["all:read"]}]


@pytest.fixture
def book(tmp_path):
    store = Store(tmp_path)
    store.open()
    yield TokenBook(store)
    store.close()


async def test_tokens_of_file_and_store(book):
    of_file, of_store = new_token(), new_token()
    token = StoredToken("1" * 32, "ci", digest(of_store), {"policies": POLICIES}, 1, 1)
    book.fill({"ops": {"hash": digest(of_file), "policies": POLICIES}}, [token])
    assert book.find(of_store) == token and book.get("1" * 32) == token
    found = book.find(of_file)
    assert (found.name, found.id, found.is_in_file) == ("ops", file_id("tokens", "ops"), True)
    assert "hash" not in found.value
    assert book.limits(found).allows("apps:read", "a")
    assert book.all() == [found, token]
    assert book.find(new_token()) is None and book.last_used(token) is None


async def test_tokens_are_made_and_deleted(book, monkeypatch):
    text = new_token()
    token = StoredToken("1" * 32, "ci", digest(text), {"policies": POLICIES}, 1, 1)
    await book.put(token, [], 1)
    assert book.find(text) == token and book._store.tokens() == [token]

    def full(*_):
        raise StoreFull("full")

    monkeypatch.setattr(book._store, "delete_token", full)
    with pytest.raises(StoreFull):
        await book.delete(token, [], 2)
    assert book.find(text) == token
    monkeypatch.undo()
    await book.delete(token, [], 2)
    assert book.find(text) is None and book.get(token.id) is None and book._store.tokens() == []
