import asyncio

import pytest

from spectrum.api import token_book
from spectrum.api.token_book import TokenBook
from spectrum.store.errors import StoreFull
from spectrum.store.objects import file_id
from spectrum.store.store import Store
from spectrum.store.tokens import StoredToken, digest, new_token
from spectrum.tasks import Tasks

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
    book.fill({"ops": {"hash": digest(of_file), "policies": POLICIES}}, [token], {})
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


FILE = {"ops": {"hash": digest(new_token()), "policies": POLICIES}}
OF_STORE = StoredToken("1" * 32, "ci", digest(new_token()), {"policies": POLICIES}, 1, 1)


async def filled(store, file=FILE):
    """Return a book as the process has it after a start."""
    book = TokenBook(store)
    book.fill(file, store.tokens(), store.token_uses())
    return book


async def test_last_uses_are_there_after_a_restart(book):
    store = book._store
    await book.put(OF_STORE, [], 1)
    book.fill(FILE, store.tokens(), {})
    of_file = book.all()[0]
    book.used(of_file, 5.0)
    book.used(OF_STORE, 6.0)
    await book.write_uses()
    book.used(OF_STORE, 7.0)
    book.fill(FILE, store.tokens(), store.token_uses())  # the file was reloaded: what is not written is newer
    assert (book.last_used(of_file), book.last_used(OF_STORE)) == (5.0, 7.0)
    after = await filled(store)
    assert (after.last_used(of_file), after.last_used(OF_STORE)) == (5.0, 6.0)


async def test_the_last_use_of_a_token_that_is_gone_is_forgotten(book):
    store = book._store
    await book.put(OF_STORE, [], 1)
    book.fill(FILE, store.tokens(), {})
    for token in book.all():
        book.used(token, 5.0)
    await book.write_uses()
    await book.delete(OF_STORE, [], 2)
    assert book.last_used(OF_STORE) is None and OF_STORE.id not in store.token_uses()
    after = await filled(store, {})
    await after.write_uses()
    assert store.token_uses() == {}


async def test_uses_are_written_all_at_once_and_only_where_there_are_any(book, monkeypatch):
    assert token_book.WRITE_EVERY_S == 60
    monkeypatch.setattr(token_book, "WRITE_EVERY_S", 0.01)
    written, tasks = [], Tasks()
    await book.put(OF_STORE, [], 1)
    monkeypatch.setattr(book._store, "write_token_uses", written.append)
    tasks.start(book.keep_uses(), "keep uses")
    for now in range(1000):
        book.used(OF_STORE, now)
    assert written == [], "nobody who uses a token waits"
    async with asyncio.timeout(10):
        while not written:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    await tasks.stop()
    assert written == [{OF_STORE.id: 999}]


async def test_uses_that_cannot_be_written_are_written_later(book, monkeypatch, caplog):
    def full(_):
        raise StoreFull("there is no room")

    await book.put(OF_STORE, [], 1)
    for _ in range(2):  # the log has it once until it is over
        monkeypatch.setattr(book._store, "write_token_uses", full)
        book.used(OF_STORE, 5.0)
        await book.write_uses()
        await book.write_uses()
        monkeypatch.undo()
        await book.write_uses()
        assert book._store.token_uses() == {OF_STORE.id: 5.0}
    assert caplog.messages == ["when tokens were used cannot be written: there is no room"] * 2
