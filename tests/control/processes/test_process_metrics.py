from spectrum.control.processes.process_metrics import process_metrics
from spectrum.kernel.usage import ProcessUsage


def test_each_process_has_its_label():
    processes = {"supervisor": ProcessUsage(1, 2, 3.5, 4.0, 5, 6), "helper": ProcessUsage(7, 8, 9.0, 10.0, None, None)}
    found = {
        (sample.name, sample.labels["process"]): sample.value
        for family in process_metrics(processes)
        for sample in family.samples
    }
    assert found == {
        ("process_resident_memory_bytes", "supervisor"): 1,
        ("process_virtual_memory_bytes", "supervisor"): 2,
        ("process_cpu_seconds_total", "supervisor"): 3.5,
        ("process_start_time_seconds", "supervisor"): 4,
        ("process_open_fds", "supervisor"): 5,
        ("process_max_fds", "supervisor"): 6,
        ("process_resident_memory_bytes", "helper"): 7,
        ("process_virtual_memory_bytes", "helper"): 8,
        ("process_cpu_seconds_total", "helper"): 9,
        ("process_start_time_seconds", "helper"): 10,
    }
