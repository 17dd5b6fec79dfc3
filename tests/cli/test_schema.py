import json

from tests.cli.harness import spectrum


def test_a_schema_is_printed():
    result = spectrum("schema")
    assert result.exit_code == 0
    assert "apps" in json.loads(result.output)["properties"]
