"""What is said where nothing is; the rest is in test_bindings.py."""

from click.testing import CliRunner

from spectrum.cli.main import main
from spectrum.kernel.pins import LAYOUT, folder_of


def test_status_and_detach_without_anything(tmp_path):
    other = tmp_path / "spectrum-1-v1"
    other.mkdir()
    (tmp_path / folder_of(tmp_path).name.replace(f"-{LAYOUT}", "-v0")).mkdir()
    said = CliRunner().invoke(main, ["kernel", "status", "--bpffs", str(tmp_path)]).output
    assert "libbpf 1." in said
    assert "bindings: off: the program is not loaded" in said
    assert f"{other}: another network namespace, or one that is gone" in said
    assert "-v0: another version" in said
    said = CliRunner().invoke(main, ["kernel", "detach", "--bpffs", str(tmp_path)]).output
    assert said == "there is nothing of ours in the kernel\n"
    said = CliRunner().invoke(main, ["kernel", "detach", "--everywhere", "--bpffs", str(tmp_path)]).output
    assert said.count("removed") == 2
