import errno
import io
import os
import time

import msgspec

from spectrum.control.log import MAX_WAITING_BATCHES, LineWriter, SessionLog
from tests.core.test_events import EVENT

LINE = msgspec.json.encode(EVENT) + b"\n"


class Kept(io.BytesIO):
    def close(self):
        pass


def test_lines_are_written():
    stream = Kept()
    writer = LineWriter(stream)
    assert writer.write(b"one\n")
    assert writer.write(b"two\n")
    writer.close()
    assert stream.getvalue() == b"one\ntwo\n"


def test_a_stream_that_blocks_drops_lines_and_delays_nobody():
    read, write = os.pipe()
    with os.fdopen(write, "wb", buffering=0) as stream:
        writer = LineWriter(stream)
        accepted = sum(writer.write(bytes(65536)) for _ in range(MAX_WAITING_BATCHES + 50))
        assert accepted < MAX_WAITING_BATCHES + 50
        writer.close(0.05)
        os.close(read)
        writer.close()  # its thread has nobody to wait for any more


def test_a_reader_that_left_does_not_hurt(caplog):
    class Broken(Kept):
        broken = True

        def write(self, data):
            if self.broken:
                raise BrokenPipeError(errno.EPIPE, "broken")
            return super().write(data)

    stream = Broken()
    writer = LineWriter(stream)
    writer.write(b"x\ny\n")
    writer.write(b"z\n")
    while writer.lost < 3:
        time.sleep(0.001)
    stream.broken = False
    writer.write(b"again\n")
    writer.close()
    assert stream.getvalue() == b"again\n"
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "records of sessions can not be written: broken pipe",
        "records of sessions are written again; 3 are lost so far",
    ]


def session_log(as_json=True, per_second=0, clock=lambda: 0.0):
    stream, left_out = Kept(), []
    writer = LineWriter(stream)
    return SessionLog(writer, as_json, per_second, left_out.append, clock), writer, stream, left_out


def test_json_is_written_as_it_came():
    log, writer, stream, left_out = session_log()
    log.add(2, LINE * 2)
    writer.close()
    assert (stream.getvalue(), left_out) == (LINE * 2, [])


def test_text():
    log, writer, stream, _ = session_log(as_json=False)
    log.add(1, LINE)
    writer.close()
    assert b" disconnect 200 client_closed app=ssh " in stream.getvalue()


def test_the_rate_is_kept_and_told():
    now = [100.0]
    log, writer, stream, left_out = session_log(per_second=3, clock=lambda: now[0])
    log.add(2, LINE * 2)
    log.add(2, LINE * 2)
    log.add(5, LINE * 5)
    now[0] = 101.2
    log.add(4, LINE * 4)
    writer.close()
    assert stream.getvalue() == LINE * 6
    assert left_out == [1, 5, 1]


def test_what_the_writer_drops_is_told():
    log, writer, _, left_out = session_log()
    writer.write = lambda data: False
    log.add(2, LINE * 2)
    assert left_out == [2]
