"""A DNS server of few words, over UDP and TCP: each name is answered as a function says, or never."""

import asyncio
import socket
from collections import Counter
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset


class DnsServer:
    """Answers from `records`: (name, type) to texts of records, a response code, or None for silence.

    What is not there has no answer (NXDOMAIN). The key "*" is for every name.

    Attributes:
        asked: How often each name and type was asked for.
        most: Most questions that were open at once, where answers take `delay_s`.
    """

    def __init__(self, records, ttl=60, delay_s=0.0):
        self.records = records
        self.ttl = ttl
        self.delay_s = delay_s
        self.asked = Counter()
        self.truncates = False
        self.port = 0
        self._open = self.most = 0

    def answer(self, data, over_tcp):
        query = dns.message.from_wire(data)
        [question] = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        found = self.records.get((name, kind), self.records.get("*", dns.rcode.NXDOMAIN))
        if found is None:
            return None
        response = dns.message.make_response(query)
        if isinstance(found, int):
            response.set_rcode(found)
        elif self.truncates and not over_tcp:
            response.flags |= dns.flags.TC
        elif found:
            response.answer.append(dns.rrset.from_text(question.name, self.ttl, "IN", kind, *found))
        return response.to_wire()

    async def _answer_later(self, data, peer, sock):
        self._open += 1
        self.most = max(self.most, self._open)
        await asyncio.sleep(self.delay_s)
        self._open -= 1
        reply = self.answer(data, False)
        if reply is not None:
            sock.sendto(reply, peer)

    def _read(self, sock, tasks):
        data, peer = sock.recvfrom(65535)
        task = asyncio.get_running_loop().create_task(self._answer_later(data, peer, sock))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _serve(self, reader, writer):
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        reply = self.answer(data, True)
        if reply is not None:
            writer.write(len(reply).to_bytes(2, "big") + reply)
        writer.close()

    @asynccontextmanager
    async def running(self, address="127.0.0.1", port=0):
        tasks, loop = set(), asyncio.get_running_loop()
        tcp = await asyncio.start_server(self._serve, address, port)
        self.port = tcp.sockets[0].getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
            sock.bind((address, self.port))
            sock.setblocking(False)
            loop.add_reader(sock, self._read, sock, tasks)
            try:
                async with tcp:
                    yield self
            finally:
                loop.remove_reader(sock)
                for task in tuple(tasks):
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
