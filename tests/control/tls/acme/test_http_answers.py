import aiohttp
import pytest

from spectrum.control.tls.acme.http_answers import HttpAnswers
from spectrum.core.address import parse_socket_address


@pytest.mark.parametrize("address", ["[::]", "127.0.0.1", "[::1]"])
async def test_it_answers_for_tokens_and_nothing_else(address, free_port):
    where, answers = parse_socket_address(f"{address}:{free_port()}"), HttpAnswers()
    await answers.add("token", "token.thumbprint", where)
    await answers.add("second", "second.thumbprint", where)
    host = "127.0.0.1" if address == "[::]" else address
    url = f"http://{host}:{where.port}/.well-known/acme-challenge"
    async with aiohttp.ClientSession() as client:
        for token in ("token", "second"):
            async with client.get(f"{url}/{token}") as found:
                assert (found.status, await found.text()) == (200, f"{token}.thumbprint")
        async with client.get(f"{url}/other") as found:
            assert found.status == 404
        with pytest.raises(OSError, match=r"http-01 cannot be answered at .*: address already in use"):
            await HttpAnswers().add("t", "c", where)
        await answers.close()
        with pytest.raises(aiohttp.ClientError):
            await client.get(f"{url}/token")
    await answers.close()
