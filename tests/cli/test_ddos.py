from tests.cli.harness import spectrum


def test_its_commands_are_listed():
    shown = spectrum("ddos", "--help")
    assert shown.exit_code == 0
    assert "rules" in shown.output
