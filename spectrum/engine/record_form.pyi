from collections.abc import Callable
from enum import IntEnum

class Mark(IntEnum):
    ENDED_AT = 1
    CONNECTED_AT = 2
    CLIENT_ADDRESS = 3
    CLIENT_PORT = 4
    CLIENT_BYTES = 5
    CLIENT_RTT = 6
    ORIGIN_ADDRESS = 7
    ORIGIN_PORT = 8
    ORIGIN_BYTES = 9
    ORIGIN_RTT = 10
    CONNECT_DURATION = 11
    CLIENT_COUNTRY = 12
    CLIENT_NUMBER = 13
    EDGE_ADDRESS = 14
    EDGE_PORT = 15
    POOL = 16
    ORIGIN_NAME = 17
    SESSION_NAME = 18
    CLIENT_SINCE = 19
    ORIGIN_SINCE = 20

class RecordForm:
    def __init__(self, template_of: Callable[[int, int, bool], bytes]) -> None: ...
