"""What a worker is made of, in the test's own process."""

import asyncio
import os
from contextlib import asynccontextmanager

from spectrum.core.life.service import ServiceEvent, ServiceLife
from spectrum.plane.outbox import Outbox
from spectrum.plane.processes.generations import Generations
from spectrum.plane.processes.planes import Planes
from spectrum.plane.processes.reports import Reports
from spectrum.plane.processes.sender import Sender
from spectrum.plane.processes.succession import Succession
from tests.plane.workers import memory, pair


class ProcessParts:
    """Composed as in `plane/worker.py`."""

    def __init__(self, control):
        self.supervisor, self.link = pair(control)
        self.life, self.outbox = ServiceLife(), Outbox("0/1")
        self.sender = Sender(self.link, self.life, self.outbox)
        self.memory, files = memory()
        self.flows = files[0]
        self.planes = Planes(self.memory, files, {}, self.sender.emit, lambda: None)
        self.generations = Generations(self.link, self.life, self.planes, self.outbox)
        self.reports = Reports(self.link, self.life, self.planes, self.outbox)
        self.succession = Succession(
            self.link, self.planes, self.generations, self.reports, self.sender, self.memory, files[0]
        )

    def serve(self):
        self.life.handle(ServiceEvent.CONFIGURED)


@asynccontextmanager
async def process_parts(control):
    parts = ProcessParts(control)
    loop = asyncio.get_running_loop()
    loop.add_reader(parts.planes.engine.fileno(), parts.planes.engine.process)
    try:
        yield parts
    finally:
        loop.remove_reader(parts.planes.engine.fileno())
        parts.link.close()
        parts.supervisor.channel.close()
        os.close(parts.flows)  # a worker has it until it ends
