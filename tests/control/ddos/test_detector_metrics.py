from spectrum.control.ddos.detector_metrics import detector_metrics
from spectrum.link.detector import DetectorState


def samples(*given):
    return {
        (one.name, *one.labels.values()): one.value for family in detector_metrics(*given) for one in family.samples
    }


def test_what_is_known_without_a_detector():
    found = samples(False, 3, (4, 16), None)
    assert found[("spectrum_ddos_up",)] == 0
    assert found[("spectrum_ddos_restarts_total",)] == 3
    assert (found[("spectrum_ddos_sample_one_in", "idle")], found[("spectrum_ddos_sample_one_in", "in_use")]) == (4, 16)
    assert ("spectrum_ddos_ready",) not in found


def test_what_the_detector_says():
    found = samples(True, 0, (1, 1), DetectorState(7_000.0, 1e6, 5, 0.03, 12.0))
    assert found[("spectrum_ddos_samples_rate",)] == 7_000
    assert found[("spectrum_ddos_packets_rate",)] == 1e6
    assert found[("spectrum_ddos_looks_lost_total",)] == 5
    assert found[("spectrum_ddos_cpu_share",)] == 0.03
    assert found[("spectrum_ddos_ready",)] == 0
