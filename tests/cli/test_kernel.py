"""What is said where nothing is; the rest is in test_bindings.py."""

from spectrum.kernel.pins import LAYOUT, folder_of
from tests.cli.harness import spectrum


def test_status_and_detach_without_anything(tmp_path):
    other = tmp_path / "spectrum-1-v1"
    other.mkdir()
    (tmp_path / folder_of(tmp_path).name.replace(f"-{LAYOUT}", "-v0")).mkdir()
    said = spectrum("kernel", "status", "--bpffs", tmp_path).output
    assert "libbpf 1." in said
    assert "bindings: off: the program is not loaded" in said
    assert f"{other}: another network namespace, or one that is gone" in said
    assert "-v0: another version" in said
    said = spectrum("kernel", "detach", "--bpffs", tmp_path).output
    assert said == "there is nothing of ours in the kernel\n"
    said = spectrum("kernel", "detach", "--everywhere", "--bpffs", tmp_path).output
    assert said.count("removed") == 2
