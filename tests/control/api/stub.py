"""Stands for the process of the API: does what a client says, a line of JSON each, by its own link and its own store.

{"ask": [method, path, body]} is passed on to the supervisor; {"change": groups} also commits what was accepted, unless
it is to end before; {"end": status}, {"stand": seconds} and {"flood": n} are what no API should do.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from spectrum.kernel import signals
from spectrum.link.api import ApiAsk, ApiClient
from spectrum.link.bodies import send
from spectrum.store.objects import ObjectChange, new_id
from spectrum.store.store import Store


class Stub:
    def __init__(self, link, store, analytics, user, *listeners):
        self.store = Store(Path(store))
        self.listeners = [socket.socket(fileno=int(one)) for one in listeners]
        self.settings = asyncio.get_running_loop().create_future()
        self.told, self.over = [], asyncio.Event()
        self.client = ApiClient(socket.socket(fileno=int(link)), self._told, self.over.set)
        self.ids, self.talking = {}, 0

    def _told(self, subject, body):
        self.told.append([subject, body])
        if subject == "settings" and not self.settings.done():
            self.settings.set_result(body)

    async def run(self):
        signals.prepare()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.over.set)
        self.client.ready()
        await self.settings
        self.store.open(10)
        self.ids = {(one.section, one.name): one.id for one in self.store.objects()}
        servers = [await asyncio.start_server(self.talk, sock=sock) for sock in self.listeners]
        self.client.serving()
        await self.over.wait()
        for server in servers:
            server.close()
        for _ in range(200):  # what is under way is answered
            await asyncio.sleep(0.01)
            if not self.talking:
                break
        self.store.close()

    async def talk(self, reader, writer):
        self.talking += 1
        with suppress(ConnectionError):
            while line := await reader.readline():
                answer = await self.do(json.loads(line))
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()
        self.talking -= 1

    async def do(self, said):
        match said:
            case {"ask": [method, path, body]}:
                return await self.client.ask(method, path, {}, body)
            case {"change": groups, **more}:
                status, answer = await self.client.ask("POST", "/changes", {}, {"groups": groups})
                if "end" in more:
                    os._exit(more["end"])
                if status == 200 and not answer["busy"]:
                    for group, faults in zip(groups, answer["faults"], strict=True):
                        if not faults:
                            self.commit(group["objects"])
                return [status, answer]
            case {"told": _}:
                return self.told
            case {"pid": _}:
                return os.getpid()
            case {"end": status}:
                os._exit(status)
            case {"stand": seconds}:
                time.sleep(seconds)
            case {"flood": count}:
                for number in range(count):
                    send(self.client._channel, ApiAsk(-number, "GET", "/status", {}))
                return count

    def commit(self, objects):
        changes = []
        for one in objects:
            key = one["section"], one["name"]
            changes.append(ObjectChange(*key[:1], self.ids.setdefault(key, new_id()), key[1], one["value"]))
            if one["value"] is None:
                del self.ids[key]
        self.store.commit(changes, [], time.time())


async def main():
    await Stub(*sys.argv[1:]).run()


if __name__ == "__main__":
    asyncio.run(main())
