from tests.cli.harness import spectrum

GOOD = "apps: {x: {protocol: tcp/22, origin_direct: [tcp://192.0.2.1:22]}}\n"


def test_check(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text(GOOD)
    result = spectrum("check", "-c", path)
    assert (result.exit_code, result.output) == (0, f"{path}: 1 app on 1 listener, no faults\n")


def test_check_prints_every_fault(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("apps:\n  x: {protocl: tcp/22}\n")
    for command in ("check", "run"):
        result = spectrum(command, "-c", path)
        assert result.exit_code == 1
        lines = result.stderr.splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"{path}:2:") for line in lines)


def test_wrong_command_lines():
    assert spectrum("run", "--workers", "0").exit_code == 2
