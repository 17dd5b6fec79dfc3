"""Certificates that are sent with their keys, and the TLS connections that they make."""

import re
import socket
import ssl

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.certificates import Authority
from tests.dashboard.conftest import looks
from tests.dashboard.site import HOSTILE
from tests.engine.harness import eventually

NAME = "tls.example.org"


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def zone(site):
    """A zone, and its id."""
    return site.ask("POST", "/zones", {"name": "example.org", "account": {"id": site.account}})["id"]


def served(port, authority):
    """Speak TLS with an app as its clients do; return the certificate that it has shown."""
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with (
        socket.create_connection(("127.0.0.1", port), 10) as sock,
        context.wrap_socket(sock, server_hostname=NAME) as stream,
    ):
        stream.sendall(b"hello")
        assert stream.recv(10) == b"hello"
        return stream.getpeercert(binary_form=True)


def der(issued):
    return issued.certificate.public_bytes(Encoding.DER)


def test_a_certificate_from_its_files_to_clients(look, site, zone, authority, free_port, tmp_path, screen, accessible):
    first, other = authority.issue(NAME, HOSTILE.replace(" ", "")), authority.issue("tls.example.net")
    chain, key = first.write(tmp_path, "first")
    _, wrong = other.write(tmp_path, "other")
    page = look("/certificates")
    page.get_by_role("link", name="Add a certificate").first.click()
    page.get_by_label("Zone").select_option(label="example.org")
    page.get_by_label("Certificate and chain").fill(other.chain.decode())
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a file for Private key").click()
    chooser.value.set_files(key)
    page.get_by_role("button", name="Add the certificate").click()
    page.wait_for_selector(".f:has(label:text-is('Private key')) .err:has-text('/private_key')")
    screen(page, "certificate-fault")
    accessible(page)
    page.locator("input[type=file]").nth(1).set_input_files(wrong)
    page.get_by_role("button", name="Add the certificate").click()
    page.wait_for_selector(".f:has(label:text-is('Certificate and chain')) .err:has-text('no name in example.org')")
    page.locator("input[type=file]").nth(0).set_input_files(chain)
    page.locator("input[type=file]").nth(1).set_input_files(key)
    page.get_by_role("button", name="Add the certificate").click()
    page.wait_for_selector(f"h1:has-text('{NAME}')")
    (made,) = site.ask("GET", f"/zones/{zone}/custom_certificates")
    assert page.url.endswith(f"#/certificates/{made['id']}")

    # The key is nowhere any more, and what is in the certificate is.
    secret = first.key.decode().splitlines()[1]
    assert "PRIVATE KEY-----\n" not in page.content() and secret not in page.content()
    assert page.get_by_label("Private key").input_value() == ""
    facts = page.inner_text("main .kv")
    assert "example.org" in facts and "None names it." in facts

    port, origin = free_port(), re.search(r"name: up, address: 127.0.0.1, port: (\d+)", site._text).group(1)
    body = {
        "protocol": f"tcp/{port}",
        "dns": {"type": "CNAME", "name": NAME},
        "origin_direct": [f"tcp://127.0.0.1:{origin}"],
        "tls": "flexible",
        "edge_tls": {"certificates": [made["id"]]},
    }
    app = site.ask("POST", f"/zones/{zone}/spectrum/apps", body)
    assert served(port, authority) == der(first)
    page.reload()
    link = page.locator("dd a", has_text=NAME)
    link.wait_for()
    assert link.get_attribute("href") == f"#/apps/{app['id']}"
    screen(page, "certificate")
    accessible(page)

    # With the same key the new one is enough; a file with both brings another one.
    renewed = authority.issue(NAME, key=first.private)
    page.get_by_label("Certificate and chain").fill(renewed.chain.decode())
    page.get_by_role("button", name="Replace the certificate").click()
    page.wait_for_selector("dt:text-is('Replaced')")
    assert served(port, authority) == der(renewed)
    page.get_by_label("Certificate and chain").fill(authority.issue(NAME).chain.decode())
    page.get_by_role("button", name="Replace the certificate").click()
    page.wait_for_selector(".f:has(label:text-is('Private key')) .err:has-text('private_key is missing')")
    both = authority.issue(NAME)
    page.get_by_label("Certificate and chain").fill(both.key.decode() + both.chain.decode())
    assert "PRIVATE KEY" not in page.get_by_label("Certificate and chain").input_value()
    assert page.get_by_label("Private key").input_value() == both.key.decode().strip()
    page.get_by_role("button", name="Replace the certificate").click()
    # The message of the first replacement may still be shown.
    eventually(lambda: served(port, authority) == der(both))

    # It is deleted when no app names it.
    page.get_by_role("button", name="Delete").click()
    page.wait_for_selector("dialog:has-text('It is refused: one app names it.')")
    page.get_by_role("button", name=f"Delete {NAME}").click()
    page.wait_for_selector(".toast:has-text('Not deleted')")
    site.ask("DELETE", f"/zones/{zone}/spectrum/apps/{app['id']}")
    page.reload()
    page.wait_for_selector("dd:has-text('None names it.')")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name=f"Delete {NAME}").click()
    page.wait_for_selector("h1:text-is('Certificates')")
    assert site.ask("GET", f"/zones/{zone}/custom_certificates") == []


@looks("desktop dark", more=("phone light",))
def test_the_form(look, screen, accessible, size, theme):
    page = look("/certificates/new", size, theme)
    screen(page, f"certificate-new-{size}-{theme}")
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing scrolls sideways"


def test_one_that_is_gone(look):
    page = look("/certificates/none")
    assert "There is no such certificate" in page.inner_text("main")
