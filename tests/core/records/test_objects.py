import pytest
from pydantic import ValidationError

from spectrum.core.records.objects import Log, RecordsSection

JOURNAL = {"path": "/var/lib/spectrum/records"}
SYSLOG = {"type": "syslog", "address": "udp://127.0.0.1"}
TLS = SYSLOG | {"address": "tls://logs.example"}
TEXT = {"format": "text", "omit_empty": True}
SINK = {"path": "/var/log/spectrum/records.json"}


def test_events_of_open_sessions():
    section = RecordsSection.model_validate({"events": ["connect", "progress"], "progress_interval": "5m"})
    assert (section.events, section.progress_interval) == (("connect", "progress"), 300)
    assert (RecordsSection().events, RecordsSection().progress_interval) == ((), 60)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"format": "text", "omit_empty": True}, "format text has its own fields"),
        ({"fields": ["RecordId"]}, "have no RecordId; a sink of records has it"),
        ({"fields": ["Nothing"]}, "records have no field Nothing"),
    ],
)
def test_a_log_that_cannot_be(wrong, message):
    with pytest.raises(ValidationError, match=message):
        Log.model_validate(wrong)


def test_defaults():
    section = RecordsSection.model_validate({"journal": JOURNAL, "sinks": {"archive": SINK}})
    assert (section.journal.path, section.journal.max_bytes) == ("/var/lib/spectrum/records", 2**30)
    sink = section.sinks["archive"]
    assert (sink.type, sink.path, sink.max_bytes, sink.max_files) == ("file", SINK["path"], 100 * 2**20, 10)
    assert RecordsSection.model_validate({"journal": JOURNAL}).sinks == {}
    assert RecordsSection.model_validate({}).journal is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sinks": {"a": SINK}}, "sinks take records from a journal: add journal"),
        ({"journal": {}}, "Field required"),
        ({"events": ["disconnect"]}, "Input should be 'connect' or 'progress'"),
        ({"events": ["progress"], "progress_interval": "100ms"}, "at least 1 s"),
        ({"events": ["connect"], "progress_interval": "5m"}, "progress_interval is for events"),
        ({"journal": {"path": "records"}}, "expected an absolute path, found 'records'"),
        ({"journal": {"path": 5}}, "expected text such as /var/lib/spectrum/records, found 5"),
        ({"journal": JOURNAL | {"max_bytes": "1MiB"}}, "at least 16MiB"),
        ({"journal": JOURNAL, "sinks": {"a": SINK | {"max_bytes": 5}}}, "at least 1MiB"),
        ({"journal": JOURNAL, "sinks": {"a": SINK | {"max_files": -1}}}, "greater than or equal to 0"),
        ({"journal": JOURNAL, "sinks": {"a": SINK | {"type": "s3"}}}, "Input should be 'file', 'syslog' or 'journald'"),
        ({"journal": JOURNAL, "sinks": {"a": {}}}, "a sink of type file needs path"),
        ({"journal": JOURNAL, "sinks": {"a": {"type": "syslog"}}}, "a sink of type syslog needs address"),
        ({"journal": JOURNAL, "sinks": {"a": SYSLOG | {"path": "/x"}}}, "path is not for a sink of type syslog"),
        ({"journal": JOURNAL, "sinks": {"a": SYSLOG | {"ca": "/x"}}}, "ca, cert and key are for an address such as"),
        (
            {"journal": JOURNAL, "sinks": {"a": SYSLOG | {"address": "http://x"}}},
            "'http://x' is no syslog server; write",
        ),
        ({"journal": JOURNAL, "sinks": {"a": SINK | {"fields": ["Client"]}}}, "records have no field Client"),
        ({"journal": JOURNAL, "sinks": {"a": SINK | TEXT}}, "text has its own fields"),
        ({"journal": JOURNAL, "sinks": {"a": TLS | {"key": "/x"}}}, "key is the one of cert: add cert"),
        ({"journal": JOURNAL, "sinks": {"a b": SINK}}, "'a b' is not a name for a sink"),
        ({"journal": JOURNAL, "sinks": {"a": SINK, "b": SINK}}, "sinks a and b write to the same file: /var/log"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(ValidationError, match=message):
        RecordsSection.model_validate(wrong)


def test_other_sinks():
    sinks = {"a": SYSLOG | {"format": "cef", "fields": ["RecordId", "ClientIP"]}, "b": {"type": "journald"}}
    section = RecordsSection.model_validate({"journal": JOURNAL, "sinks": sinks})
    assert section.sinks["a"].address == ("udp", "127.0.0.1", 514)
    assert (section.sinks["a"].form, section.sinks["b"].form) == ("cef", "text")
    assert section.sinks["a"].fields == ("RecordId", "ClientIP")
