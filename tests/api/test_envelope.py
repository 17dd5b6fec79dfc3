import json

import pytest

from spectrum.api.envelope import ApiError, BodyFault, ErrorDetail, failure, pointer_to, success


def said(response):
    return json.loads(response.body)


def test_success_has_all_keys():
    response = success({"id": "a"}, {"page": 1}, [(10000, "fine")])
    assert response.status_code == 200 and response.media_type == "application/json"
    assert said(response) == {
        "success": True,
        "errors": [],
        "messages": [{"code": 10000, "message": "fine"}],
        "result": {"id": "a"},
        "result_info": {"page": 1},
    }


def test_success_without_a_result_says_null():
    assert said(success(None))["result"] is None
    assert "result_info" not in said(success([]))


def test_an_error_has_its_pointer_and_what_led_to_it():
    error = ApiError(400, 6003, "bad", "/dns/name", [(6111, "worse")], more=[ErrorDetail(1002, "second")])
    response = error.response()
    assert (response.status_code, error.code) == (400, 6003)
    assert said(response) == {
        "success": False,
        "errors": [
            {
                "code": 6003,
                "message": "bad",
                "source": {"pointer": "/dns/name"},
                "error_chain": [{"code": 6111, "message": "worse"}],
            },
            {"code": 1002, "message": "second"},
        ],
        "messages": [],
        "result": None,
    }


@pytest.mark.parametrize(
    ("status", "retry", "header"),
    [
        (400, None, None),
        (404, None, None),
        (409, None, "false"),
        (500, None, "false"),
        (501, None, "false"),
        (503, None, "true"),
        (503, False, "false"),
        (429, None, None),
    ],
)
def test_clients_are_told_whether_to_try_again(status, retry, header):
    assert failure(status, [ErrorDetail(1000, "no")], retry=retry).headers.get("x-should-retry") == header


def test_a_fault_of_a_body_is_a_bad_request():
    assert BodyFault(11000, "no", "/a").response().status_code == 400


def test_a_pointer_escapes():
    assert pointer_to(["a/b", 0, "c~d"]) == "/a~1b/0/c~0d"
    assert pointer_to([]) == ""
