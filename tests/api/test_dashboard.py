import gzip
import json
import os
import re
from functools import cache
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from spectrum.api.app import make_app
from spectrum.api.dashboard import FOLDER, IMPORT, POLICY, Dashboard
from spectrum.kernel.peers import Peer

# Scripts of all pages together as they are sent, those of the first view, and all as they are written.
MOST_SENT_BYTES, MOST_FIRST_BYTES, MOST_WRITTEN_BYTES = 250_000, 100_000, 520_000


@pytest.fixture(scope="module")
def dashboard():
    return Dashboard()


@cache
def application():
    return make_app(None)


async def ask(path, method="GET", **headers):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application()), base_url="http://edge") as client:
        return await client.request(
            method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


async def test_the_page_names_files_that_never_change(dashboard):
    page = await ask("/")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(named) > 10 and all(one.startswith(f"/static/{dashboard.digest}/") for one in named)
    assert page.headers["cache-control"] == "no-cache", "a browser asks whether there is another one"
    for one in named:
        file = await ask(one)
        assert file.status_code == 200, one
        assert "immutable" in file.headers["cache-control"]
    assert (await ask("/static/js/main.js")).headers["cache-control"] == "no-cache"
    old = await ask(f"/static/{'0' * 16}/js/main.js")
    assert old.status_code == 404, "of a version before an upgrade: no mixture of two"


async def test_what_it_may_do_in_a_browser():
    for path in ("/", "/static/style.css", "/static/none"):
        headers = (await ask(path)).headers
        assert headers["content-security-policy"] == POLICY
        assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
        assert headers["referrer-policy"] == "no-referrer"
    assert "unsafe" not in POLICY and "*" not in POLICY and POLICY.startswith("default-src 'none'")


async def test_strong_tags(dashboard):
    plain, packed = await ask("/static/style.css", accept_encoding="identity"), await ask("/static/style.css")
    assert plain.headers["etag"] != packed.headers["etag"] and not plain.headers["etag"].startswith("W/")
    assert packed.headers["content-encoding"] == "gzip" and packed.content == plain.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    for one in (packed, plain):
        accepts = "gzip" if one is packed else "identity"
        tag = one.headers["etag"]
        for known in (tag, f'"x", W/{tag}', "*"):
            again = await ask("/static/style.css", accept_encoding=accepts, if_none_match=known)
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await ask("/static/style.css", accept_encoding=accepts, if_none_match='"x"')).status_code == 200


@pytest.mark.parametrize(
    ("accepts", "is_packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("gzip;q=0", False), ("br", False), ("", False)],
)
async def test_compression(accepts, is_packed):
    answer = await ask("/static/style.css", accept_encoding=accepts)
    assert ("content-encoding" in answer.headers) is is_packed
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static",
        "/static/../dashboard.py",
        "/static/%2e%2e/%2e%2e/__init__.py",
        "/static/..%2f..%2f..%2fetc%2fpasswd",
        "/static//etc/passwd",
        "/static/js",
        "/static/js/",
        "/static/index.html",
        "/static/css/../index.html/",
        "/static/js/main.js%00",
        "/static/%5c..%5cindex.html",
    ],
)
async def test_nothing_else_is_found(path):
    answer = await ask(path)
    assert answer.status_code == 404
    assert b"root:" not in answer.content and b"import" not in answer.content


async def test_methods():
    head = await ask("/static/style.css", "HEAD")
    assert head.status_code == 200 and int(head.headers["content-length"]) > 0
    assert (await ask("/", "POST")).status_code == 405


async def test_unauthenticated_callers_get_the_page_only(api):
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(api.app, client=("192.0.2.7", 1)), base_url="http://api"
    ) as client:
        page = await client.get("/")
        assert page.status_code == 200 and "<script" in page.text
        assert page.headers["cache-control"] == "no-cache" and page.headers["content-security-policy"] == POLICY
        assert (await client.get("/client/v4/memberships")).status_code == 400


async def test_the_page_asks_for_a_token_where_one_is_needed(dashboard):
    for scope, is_asked in (
        ({}, True),
        ({"peer": None}, True),
        ({"peer": Peer(pid=1, uid=65534)}, True),
        ({"peer": Peer(pid=1, uid=0)}, False),
    ):
        app = Starlette(routes=dashboard.routes())

        async def of(given, receive, send, app=app, scope=scope):
            await app(given | {"state": scope}, receive, send)

        async with httpx.AsyncClient(transport=httpx.ASGITransport(of), base_url="http://edge") as client:
            page = await client.get("/")
        assert ("<html data-sign-in" in page.text) is is_asked
        assert "signIn" in (FOLDER / "js/main.js").read_text(), "what asks for it"
    assert dashboard.answer(None, {}, True).headers["etag"] != dashboard.answer(None, {}).headers["etag"]


def test_of_a_folder(tmp_path):
    (tmp_path / "css/pages").mkdir(parents=True)
    (tmp_path / "js").mkdir()
    for name in ("css/pages/x.css", "css/base.css", "css/tokens.css", "css/chart.css"):
        (tmp_path / name).write_text(f"/* {name} */")
    (tmp_path / "index.html").write_text('<!-- modules --><!-- pages --><script src="/static/js/a.js">')
    (tmp_path / "js/a.js").write_text("let a;" * 200)
    (tmp_path / "js/pages").mkdir()
    (tmp_path / "js/main.js").write_text("import { a } from './a.js';\nimport {\n  b,\n} from './none.js';")
    (tmp_path / "js/pages/overview.js").write_text("import { c } from '../c.js';\nimport '../a.js';")
    (tmp_path / "js/pages/other.js").write_text("import { c } from '../d.js';")
    (tmp_path / "js/c.js").write_text("export { e } from './e/e.js';\nimport x from './main.js';")
    (tmp_path / "js/e").mkdir()
    (tmp_path / "js/e/e.js").write_text("")
    (tmp_path / "js/pages.js").write_text(
        "[\n  ['/', 'Overview', 'Watch', 'overview'],\n  ['/x/:id', null, '/', 'overview'],\n]"
    )
    (tmp_path / "notes.txt").write_text("no file of it")
    made = Dashboard(tmp_path)
    style = made.answer("style.css", {}).body.decode()
    assert re.findall(r"[\w/]+\.css", style) == ["css/tokens.css", "css/base.css", "css/chart.css", "css/pages/x.css"]
    preloaded = re.findall(r'modulepreload" href="/static/(\w+)/js/([^"]+)"', made.answer(None, {}).body.decode())
    assert preloaded == [(made.digest, one) for one in ("a.js", "main.js")]
    assert pages_of(made) == [[["/", "/x/:id"], ["js/c.js", "js/e/e.js", "js/pages/overview.js"]]]
    packed = made.answer("js/a.js", {"accept-encoding": "gzip"})
    assert gzip.decompress(packed.body).decode() == "let a;" * 200
    assert made.answer("notes.txt", {}).status_code == 404
    assert Dashboard(tmp_path).digest == made.digest
    (tmp_path / "js/a.js").write_text("let b;" * 200)
    assert Dashboard(tmp_path).digest != made.digest


def pages_of(dashboard):
    """Return what the page says of its pages: paths, and the modules that each has beside the frame's."""
    text = dashboard.answer(None, {}).body.decode()
    found = re.search(r'<script type="application/json" id="pages">(.*)</script>', text)
    prefix = f"/static/{dashboard.digest}/"
    assert all(one.startswith(prefix) for _, files in json.loads(found[1]) for one in files)
    return [[paths, [one.removeprefix(prefix) for one in files]] for paths, files in json.loads(found[1])]


def test_each_page_names_all_its_modules(dashboard):
    """A module that is found late, in another one, costs a round trip."""
    frame = set(re.findall(r'modulepreload" href="/static/\w+/([^"]+)"', dashboard.answer(None, {}).body.decode()))
    pages = pages_of(dashboard)
    assert [path for paths, _ in pages for path in paths if path in ("/", "/apps/:id", "/balancing/pools/:id")]
    assert {one for _, files in pages for one in files if "/pages/" in one} == {
        f"js/pages/{path.name}" for path in (FOLDER / "js/pages").glob("*.js")
    }
    for _, files in pages:
        for name in files:
            text = dashboard.answer(name, {}).body.decode()
            used = {os.path.normpath(Path(name).parent / (one[0] or one[1])) for one in IMPORT.findall(text)}
            assert used <= {*files, *frame}, name


def test_how_much_it_is(dashboard):
    def sent(path):
        return len(dashboard.answer(path, {"accept-encoding": "gzip"}).body)

    scripts = {str(path.relative_to(FOLDER)): path.stat().st_size for path in FOLDER.rglob("*.js")}
    first = re.findall(r'(?:href|src)="/static/\w+/(js/[^"]+)"', dashboard.answer(None, {}).body.decode())
    first += next(files for paths, files in pages_of(dashboard) if "/" in paths)
    sizes = sum(map(sent, scripts)), sum(map(sent, set(first))), sum(scripts.values())
    print("scripts, bytes: all as sent, of the first view, as written:", sizes)
    assert sizes[0] < MOST_SENT_BYTES and sizes[1] < MOST_FIRST_BYTES and sizes[2] < MOST_WRITTEN_BYTES, (
        sizes,
        scripts,
    )


def test_nothing_makes_markup_of_text_or_runs_it():
    forbidden = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc"
        r"|setTimeout\(['\"`]|javascript:"
    )
    for path in FOLDER.rglob("*.js"):
        assert not forbidden.search(path.read_text()), path
    for path in FOLDER.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\son\w+=|style=|<style|<script>", text), path
