"""A daemon whose source gives objects: with each reload one app is another one, without a file that is read again."""

import sys
from pathlib import Path

from spectrum.control import daemon
from spectrum.control.configuration.loader import load_file
from spectrum.control.configuration.source import FileSource, Revision
from spectrum.core.configuration.config import Config, Timeouts


class ChangingSource(FileSource):
    """Changes the last app with each revision.

    Args:
        path: The file that it began with.
        config: What that holds.
    """

    def __init__(self, path: Path, config: Config) -> None:
        super().__init__(path)
        self._config = config

    def read(self) -> Revision:
        """Return a revision in which all but one app are the same objects as before."""
        config = self._config
        name, app = next(reversed(config.apps.items()))
        timeouts = Timeouts(idle=f"{500 if app.timeouts.idle_s == 600 else 600}s")  # type: ignore[call-arg]
        apps = config.apps | {name: app.model_copy(update={"timeouts": timeouts})}
        self._config = config.model_copy(update={"apps": apps})
        return Revision(self._config, rereads=False)


def main() -> None:
    """Serve the file that the argument names."""
    path = Path(sys.argv[1])
    config = load_file(path)
    daemon.serve(ChangingSource(path, config), config, None, "INFO")


if __name__ == "__main__":
    main()
