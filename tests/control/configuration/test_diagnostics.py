from spectrum.control.configuration.diagnostics import ConfigError, Diagnostic
from spectrum.control.configuration.yaml_faults import Position


def test_a_fault_has_its_place():
    faults = [Diagnostic("f", Position(2, 5), "apps.x", "wrong"), Diagnostic("f", Position(1, 1), "", "empty")]
    assert str(ConfigError(faults)) == "f:2:5: apps.x: wrong\nf:1:1: empty"
    assert ConfigError(faults).diagnostics == faults
