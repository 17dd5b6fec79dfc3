"""The programs in docs/protocols.md, run as they stand."""

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from scripts import key_tables
from spectrum.control.configuration.loader import load_text
from spectrum.core.configuration.config import Config
from spectrum.wire import simple_proxy
from tests.engine.harness import eventually

DOCS = Path(__file__).parent.parent / "docs"
IPV4, IPV6, EDGE = b"\xc0\0\2\7", b"\x20\1\x0d\xb8" + bytes(11) + b"\7", b"\xc0\0\2\1"


def snippet(language, marker):
    blocks = re.findall(rf"```{language}\n(.*?)```", (DOCS / "protocols.md").read_text(), re.DOTALL)
    (found,) = [block for block in blocks if marker in block]
    return found


def _python(folder, text, port):
    (folder / "origin.py").write_text(text.replace("9000", str(port)))
    return [sys.executable, "origin.py"]


def _c(folder, text, port):
    (folder / "origin.c").write_text(text)
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", "origin", "origin.c"], cwd=folder, check=True)
    return ["./origin", str(port)]


def _go(folder, text, port):
    (folder / "origin.go").write_text(text)
    subprocess.run(["go", "build", "-o", "origin", "origin.go"], cwd=folder, check=True, timeout=300)
    return ["./origin", str(port)]


def _node(folder, text, port):
    (folder / "origin.js").write_text(text)
    return ["node", "origin.js", str(port)]


@pytest.mark.parametrize(
    ("language", "tool", "marker", "build"),
    [
        ("python", "python3", "ProxiedDatagrams", _python),
        ("c", "cc", "0x56EC", _c),
        ("go", "go", "0x56EC", _go),
        ("js", "node", "0x56ec", _node),
    ],
    ids=["python", "c", "go", "js"],
)
def test_origins_that_read_simple_proxy_headers(require, tmp_path, free_port, language, tool, marker, build):
    require(tool)
    port = free_port()
    process = subprocess.Popen(build(tmp_path, snippet(language, marker), port), cwd=tmp_path)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as edge:
            edge.settimeout(0.2)
            for client in (IPV4, IPV6):
                header = simple_proxy.pack(client, EDGE, 40000, 9000)
                answers = []

                def answered(header=header, answers=answers):
                    edge.sendto(b"no header", ("127.0.0.1", port))
                    edge.sendto(header + b"payload", ("127.0.0.1", port))
                    try:
                        answers.append(edge.recv(2000))
                    except OSError:
                        return False
                    return True

                eventually(answered, 20)
                assert answers[0][:38] == header
                told = answers[0][38:].decode()
                assert told.startswith("hello, ")
                assert told.rstrip("\n").endswith(":40000")
                assert ("192.0.2.7" if client == IPV4 else "2001:db8:") in told
    finally:
        process.kill()
        process.wait()


def test_every_page_is_in_the_navigation():
    navigation = (DOCS.parent / "mkdocs.yml").read_text()
    pages = [str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")]
    assert [page for page in pages if page not in navigation] == []


@pytest.mark.parametrize("page", ["README.md", "docs/balancing.md", "docs/configuration.md"])
def test_files_in_the_docs_are_good_ones(page):
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS.parent / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        config = load_text(block, page)
        assert config.apps or config.api


def test_the_pictures_in_the_readme_are_small_and_load_nothing():
    """`docs/pictures/make.py` draws the one of the terminal; the other one is a screenshot of the dashboard."""
    names = re.findall(r"!\[.*?\]\((docs/pictures/.*?)\)", (DOCS.parent / "README.md").read_text())
    drawn, screenshot = ((DOCS.parent / name).read_bytes() for name in names)
    assert len(drawn) < 60_000 and drawn.startswith(b"<svg ") and b"url(http" not in drawn
    assert len(screenshot) < 100_000 and screenshot.startswith(b"\x89PNG")


def test_words_that_the_project_writes_otherwise():
    """CONTRIBUTING.md, Words."""
    root, folders = DOCS.parent, ("spectrum", "tests", "docs", "scripts", "config", "benchmarks", ".ci")
    kinds = {".py", ".pyi", ".pyx", ".pxd", ".h", ".md", ".yaml", ".toml", ".service", ""}
    files = [
        path for folder in folders for path in (root / folder).rglob("*") if path.suffix in kinds and path.is_file()
    ]
    files += [*root.glob("*.md"), *(root / "spectrum/kernel/bpf").glob("*.c"), root / "Makefile"]
    split = re.compile(r"\bcan[ \n]+" + r"(?:[#*] )?not\b", re.IGNORECASE)
    assert [str(path) for path in files if split.search(path.read_text("utf-8", "ignore"))] == []


# A space of an idiom may be the end of a line, within a comment too.
OVER_LINES = r"\s+(?:# |// |\* )?"
IDIOMS = (  # and the term of docs/glossary.md, or of the field
    (r"takes? a restart", "requires a restart"),
    (r"signs? of life", "responds, heartbeat"),
    (r"faults? of ours", "internal error"),
    (r"for want of", "without, because ... is full"),
    (r"what one sees", "status and metrics"),
    (r"good traffic", "normal traffic"),
    (r"nobody can be reached", "is not reachable"),
    (r"the supervisor before this one", "the previous supervisor"),
    (r"spoken to in clear", "plain text"),
    (r"(is|are) told of", "is reported, is notified"),
    (r"anew", "again, is reopened, is recreated"),
    (r"good for nothing", "invalid"),
    (r"let go of", "closed, released"),
    (r"holds? (up|off) (nobody|others)", "delays no other"),
    (r"takes nothing|took nothing", "refuses, does not read"),
    (r"stands? still", "hangs"),
    (r"what is so now", "current state"),
    (r"cannot be had|could not be had", "is not available, cannot be opened"),
    (r"whoever", "a client, a caller, a process"),
    (r"of late", "recently"),
    (r"nobody looks", "without subscribers"),
    (r"as it lies", "unchanged, directly"),
    (r"write(s)? (itself|themselves)", "automatic"),
    (r"asks? of", "requests from"),
    (r"our fault", "internal error"),
)


@pytest.mark.parametrize("idiom", [idiom for idiom, _ in IDIOMS])
def test_idioms_that_the_project_does_without(idiom):
    """docs/glossary.md has the terms; texts of code and output, where these idioms once stood, are read here."""
    words = re.compile(rf"\b(?:{idiom.replace(' ', OVER_LINES)})\b", re.IGNORECASE)
    source = DOCS.parent / "spectrum"
    files = [path for kind in ("*.py", "*.pyx", "*.pxd", "*.[ch]") for path in source.rglob(kind)]
    files = [path for path in files if path.suffix != ".c" or path.parent.name == "bpf"] + [*DOCS.glob("*.md")]
    assert [str(path) for path in files if words.search(path.read_text())] == []


def test_files_that_the_docs_name_exist():
    """In `docs/architecture.md` without the package's folder in front."""
    root = DOCS.parent
    named = re.compile(
        r"(?:tests|spectrum|benchmarks|scripts|config|cli|control|core|engine|helper|kernel|link|origin|plane|probes|wire)"
        r"/[\w./-]+\.(?:py|pyx|pxd|c|h)\b"
    )
    pages = [*DOCS.glob("*.md"), root / "README.md", root / "CONTRIBUTING.md"]
    found = {(page.name, name) for page in pages for name in named.findall(page.read_text())}
    assert [pair for pair in sorted(found) if not any((root / at / pair[1]).exists() for at in ("", "spectrum"))] == []


def test_every_key_of_the_file_is_in_the_docs():
    text = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    words = set(re.findall(r"[\w-]+", text))
    keys = {f"{model.__name__}.{key}" for model in models(Config, set()) for key in keys_of(model) - words}
    assert sorted(keys) == []


def test_tables_of_keys_are_those_of_the_models():
    """`make tables` writes them."""
    assert [path.name for path in key_tables.outdated()] == [], "a key was changed: make tables"


def test_every_key_has_a_meaning():
    """A mapping without one has a row for each of its keys."""
    without = {
        f"{model.__name__}.{name}"
        for model in models(Config, set())
        for name, field in model.model_fields.items()
        if not field.description and not list(models(field.annotation, set()))
    }
    assert without == set()


def keys_of(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


def models(annotation: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield the mappings of the file that a type has in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in seen:
            return
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation, seen)
    for part in get_args(annotation):
        yield from models(part, seen)
