import pytest

from spectrum.kernel.filter.settings import SETTINGS_BYTES, FilterSettings, ProgramSettings


@pytest.mark.parametrize(
    "settings", [FilterSettings(), FilterSettings(20_000, 5_000, 2_000, 100, True, 1_000, True), FilterSettings(3, 1)]
)
def test_settings_come_back_as_they_went(settings):
    program = ProgramSettings(generation=1, rules=7).given(settings)
    assert (program.generation, program.rules) == (1, 7), "of the rules, which they leave alone"
    assert len(program.packed()) == SETTINGS_BYTES
    assert ProgramSettings.unpacked(program.packed()) == program
    assert program.shown() == settings


def test_rates_are_intervals():
    program = ProgramSettings().given(FilterSettings(1000, 50))
    assert (program.packet_ns, program.burst_ns, program.syn_ns) == (1_000_000, 50_000_000, 0)
