"""Requests made from the OpenAPI document, by the hundred (by the thousand in `make fuzz`): none is a fault of ours."""

import asyncio
import socket
import threading

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from spectrum.api.listeners import Listeners
from spectrum.store.objects import file_id
from tests.api.calls import calls
from tests.api.conftest import FILE
from tests.api.kinds.test_certificates import PUBLIC
from tests.api.routes.test_certificate_packs import ORDERING
from tests.api.serving import BASE, Api

# By default 100 for each operation, which takes minutes; `make fuzz` chooses another profile.
IS_FUZZING = settings.default.max_examples > 100
EXAMPLES = 200 if IS_FUZZING else 10 * settings.default.max_examples // 100


KNOWN = {"account_id": file_id("accounts", "acme"), "zone_id": file_id("zones", "example.com")}


class Served:
    """The API on a port, in a thread."""

    def __init__(self, folder):
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}"
        self._started = threading.Event()
        self._folder = folder
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def _serve(self):
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        async with Api(self._folder, FILE) as api:
            api.rates.requests = 0
            api.context.sealing.public = PUBLIC
            api.context.ordering.configure(ORDERING)
            self.token = await api.token("all:edit")
            listeners = Listeners(api.app, [self._sock])
            await listeners.start()
            self._started.set()
            await self._ended.wait()
            await listeners.stop()

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(30)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        self._sock.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with Served(tmp_path_factory.mktemp("api")) as running:
        yield running


schema = schemathesis.openapi.from_dict(calls(BASE))
# Its 9,000 requests with values at each bound are made while tests are collected, in each process that does.
schema.config.phases.coverage.enabled = IS_FUZZING


# A stream has no end.
@schema.exclude(path_regex="/live$").parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_causes_an_internal_error(case, served):
    # Ids that are made up are all answered alike.
    case.path_parameters = {**(case.path_parameters or {}), **KNOWN}
    answer = case.call(base_url=served.url, headers={"authorization": f"Bearer {served.token}"})
    case.validate_response(answer, checks=[not_a_server_error, content_type_conformance, response_schema_conformance])
