"""The life cycle of a TCP session in a worker's Python code: from accept to an origin, and its end. The table has no
I/O, and is not executed: that would cost each session more than its decision. The methods of `plane/session_decider.py`
implement its rows. They keep the state of each session that is not plain in its object (`plane/session.py`), and a test
compares those objects with the table.
"""

from enum import Enum


class SessionState(Enum):
    """The state of a session."""

    ACCEPTED = "accepted"
    # More of a PROXY header or of a ClientHello is awaited.
    READING = "reading"
    # New sessions arrive too fast; it is delayed.
    HELD = "held"
    # Every origin of its load balancer is full; it is queued.
    QUEUED = "queued"
    # The TLS handshake with its client is in progress.
    SECURING = "securing"
    # It has an origin, or the remaining origins of a load balancer, which the engine connects to; then it is relayed.
    LED = "led"
    ENDED = "ended"


class SessionStep(Enum):
    """The result of a decision, or an event of the engine."""

    NEEDS_MORE = "needs more bytes"
    MUST_WAIT = "must wait"
    SPEAKS_TLS = "speaks TLS"
    FOUND_FULL = "origins full"
    ADMITTED = "admitted"
    # By an access rule, a limit, its first bytes, or because no origin is available.
    TURNED_AWAY = "turned away"
    # The origins that were tried could not be reached.
    EXHAUSTED = "origins unreachable"
    OVER = "over"


class SessionCommand(Enum):
    """A command to the engine."""

    READ = "read"
    HOLD = "hold"
    QUEUE = "hold in the queue"
    SECURE = "shake hands"
    CONNECT = "connect"
    REFUSE = "refuse"
    CONNECT_ELSEWHERE = "connect to another origin"
    RECORD = "record"


_S, _E, _C = SessionState, SessionStep, SessionCommand
Row = tuple[SessionState, SessionCommand]

ENDS = (_S.ENDED,)
LIVING = tuple(state for state in _S if state not in ENDS)
# Those without an origin.
UNDECIDED = (_S.ACCEPTED, _S.READING, _S.HELD, _S.QUEUED, _S.SECURING)

TABLE: dict[tuple[SessionState, SessionStep], Row] = {
    **{(state, _E.OVER): (_S.ENDED, _C.RECORD) for state in LIVING},
    **{(state, _E.ADMITTED): (_S.LED, _C.CONNECT) for state in UNDECIDED},
    **{(state, _E.TURNED_AWAY): (_S.ENDED, _C.REFUSE) for state in UNDECIDED},
    **{(state, _E.FOUND_FULL): (_S.QUEUED, _C.QUEUE) for state in UNDECIDED},
    (_S.ACCEPTED, _E.NEEDS_MORE): (_S.READING, _C.READ),
    (_S.READING, _E.NEEDS_MORE): (_S.READING, _C.READ),
    (_S.ACCEPTED, _E.MUST_WAIT): (_S.HELD, _C.HOLD),
    (_S.READING, _E.MUST_WAIT): (_S.HELD, _C.HOLD),
    (_S.ACCEPTED, _E.SPEAKS_TLS): (_S.SECURING, _C.SECURE),
    (_S.READING, _E.SPEAKS_TLS): (_S.SECURING, _C.SECURE),
    (_S.HELD, _E.SPEAKS_TLS): (_S.SECURING, _C.SECURE),
    (_S.LED, _E.EXHAUSTED): (_S.LED, _C.CONNECT_ELSEWHERE),
}
