"""The sinks of a configuration."""

import os
from functools import partial
from pathlib import Path

from spectrum import __version__
from spectrum.control.records.feed import Sink
from spectrum.control.records.file_sink import FileSink
from spectrum.control.records.socket_sinks import DatagramSink, StreamSink, tls_context
from spectrum.core.records.formats import FormattedRecord, RecordFormat
from spectrum.core.records.journald import entry
from spectrum.core.records.objects import SinkSection
from spectrum.core.records.syslog import SyslogForm, SyslogServer, counted

# Where systemd's journal takes entries.
JOURNALD = Path("/run/systemd/journal/socket")


def make_sink(section: SinkSection, node: str, journald: Path = JOURNALD) -> Sink:
    """Return a sink; nothing is opened yet.

    Args:
        section: Its section of the file.
        node: The name of this machine.
        journald: The journal's socket.
    """
    form = RecordFormat(section.form, section.fields, section.omit_empty, __version__)
    if section.path is not None:
        return FileSink(Path(section.path), section.max_bytes, section.max_files, form)
    if section.address is not None:
        syslog = SyslogForm(section.facility, node, section.app_name, os.getpid())
        return _syslog_sink(section, section.address, form, syslog)
    beside = RecordFormat("json", section.fields, section.omit_empty)
    return DatagramSink(
        form, lambda one: entry(one.fields, beside.select(one.fields), one.text, section.app_name), journald
    )


def _syslog_sink(section: SinkSection, server: SyslogServer, form: RecordFormat, syslog: SyslogForm) -> Sink:
    def message(one: FormattedRecord) -> bytes:
        return syslog.message(one.fields, one.text)

    if server.transport == "unix":
        return DatagramSink(form, lambda one: syslog.local_message(one.fields, one.text), Path(server.host))
    if server.transport == "udp":
        return DatagramSink(form, message, (server.host, server.port))
    tls = partial(tls_context, section.ca or "", section.cert or "", section.key or "")
    return StreamSink(
        form, lambda one: counted(message(one)), server.host, server.port, tls if server.transport == "tls" else None
    )
