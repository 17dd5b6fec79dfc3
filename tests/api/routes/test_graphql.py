"""What it answers is in tests/api/graphql."""

import sys

from tests.api.serving import Api


async def test_it_answers_and_says_what_may_be_sent_again(tmp_path):
    async with Api(tmp_path) as api, api.client() as client:
        answer = await client.post("/graphql", json={"query": "{ cost }"})
        assert (answer.status_code, answer.json()) == (200, {"data": {"cost": 1}, "errors": None})
        assert "x-should-retry" not in answer.headers
        answer = await client.post("/graphql", json={"query": "{ costs }"})
        assert (answer.status_code, answer.headers["x-should-retry"]) == (400, "false")
        assert answer.headers["content-type"] == "application/json"


async def test_it_needs_a_token(tmp_path):
    async with Api(tmp_path) as api, api.client("wrong") as client:
        assert (await client.post("/graphql", json={"query": "{ cost }"})).status_code in (400, 401)


async def test_its_library_is_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "spectrum.api.graphql.answers", None)
    async with Api(tmp_path) as api, api.client() as client:
        answer = await client.post("/graphql", json={"query": "{ cost }"})
        assert answer.status_code == 404
        assert "pip install 'spectrum-edge[analytics]'" in answer.json()["errors"][0]["message"]
