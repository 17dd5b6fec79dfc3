"""Resources of the daemon's processes, with the names of Prometheus' client libraries."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from spectrum.kernel.usage import ProcessUsage


def process_metrics(processes: Mapping[str, ProcessUsage]) -> Iterator[Metric]:
    """Yield the resources of each process, by its name."""
    labels = ["process"]
    resident = GaugeMetricFamily("process_resident_memory_bytes", "Resident memory size in bytes", labels=labels)
    virtual = GaugeMetricFamily("process_virtual_memory_bytes", "Virtual memory size in bytes", labels=labels)
    cpu = CounterMetricFamily("process_cpu_seconds", "User and system CPU time spent in seconds", labels=labels)
    started = GaugeMetricFamily(
        "process_start_time_seconds", "Start time of the process since the Unix epoch in seconds", labels=labels
    )
    opened = GaugeMetricFamily("process_open_fds", "Number of open file descriptors", labels=labels)
    most = GaugeMetricFamily("process_max_fds", "Maximum number of open file descriptors", labels=labels)
    for name, usage in processes.items():
        resident.add_metric([name], usage.resident_bytes)
        virtual.add_metric([name], usage.virtual_bytes)
        cpu.add_metric([name], usage.cpu_s)
        started.add_metric([name], usage.started_at)
        if usage.descriptors is not None:  # Not the helper's, if this process is not root.
            opened.add_metric([name], usage.descriptors)
        if usage.max_descriptors is not None:
            most.add_metric([name], usage.max_descriptors)
    yield from (resident, virtual, cpu, started, opened, most)
