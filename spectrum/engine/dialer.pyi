from spectrum.engine.sessions import Sessions
from spectrum.engine.target import Target

class Dialer(Sessions):
    def preconnect(self, wanted: list[tuple[Target, int, int, int]]) -> None: ...
