"""A `Supervisor` that runs in the test's process, with real workers."""

import asyncio
import gc
from contextlib import asynccontextmanager

from spectrum.control.configuration.joined import JoinedSource
from spectrum.control.configuration.loader import load_file
from spectrum.control.configuration.source import FileSource, ObjectSource, Revision
from spectrum.control.paths import store_folder
from spectrum.control.supervisor import Supervisor
from spectrum.tasks import Tasks
from tests.control.keepers import until


@asynccontextmanager
async def supervised(folder, text, workers=1, has_store=False):
    """Yield a supervisor that serves, and the function that writes its file; with what its store has, if it has one."""
    path = folder / "f.yaml"

    def write(text):
        path.write_text(f"{text}\ncontrol: {{socket: {folder}/control.sock}}\n")

    write(text)
    config = load_file(path)
    source = FileSource(path)
    if has_store:
        source = JoinedSource(source, store_folder)
        config = source.start(config)
    supervisor, tasks = Supervisor(source, config, workers), Tasks()
    running = tasks.start(supervisor.run(), "supervisor")
    await until(lambda: supervisor.served.is_live or running.done())
    try:
        yield supervisor, write
    finally:
        supervisor.stop()
        await asyncio.wait_for(running, 20)
        gc.unfreeze()


def app(name, port, more=""):
    """Return an app as a file has it."""
    return f"  {name}: {{protocol: tcp/{port}, edge_ips: [127.0.0.1], origin_direct: [tcp://127.0.0.1:1]{more}}}\n"


def pool(name):
    """Return a pool, and the load balancer b that uses it."""
    return (
        f"pools: {{{name}: {{origins: [{{name: o, address: 127.0.0.1, port: 1}}]}}}}\n"
        f"load_balancers: {{b: {{default_pools: [{name}]}}}}\n"
    )


class FixedSource(ObjectSource):
    """Gives one configuration."""

    def __init__(self, config):
        super().__init__("a test", {}, str)
        self._config = config

    def read(self):
        return Revision(self._config)


def made(config, workers=1):
    """Return a supervisor that does not run yet."""
    return Supervisor(FixedSource(config), config, workers)
