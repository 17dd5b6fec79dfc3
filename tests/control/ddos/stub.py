"""Stands for the detector: says what a file tells it to, and writes there what it was told.

`FOLDER/say` has a line of JSON for each message: ["rules", name...], ["sampling", idle, used], ["forever", name],
["end"].
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from spectrum.core.filter_rules import FilterRule
from spectrum.kernel import signals
from spectrum.kernel.descriptors import close_all
from spectrum.kernel.filter.rules import pack_rule
from spectrum.link.detector import (
    DetectorClient,
    DetectorHeld,
    DetectorParcel,
    DetectorRule,
    DetectorRules,
    DetectorSampling,
    DetectorState,
)


async def main(link, folder, user, forbids_calls, profiles):
    signals.prepare()
    over, held, settings = asyncio.Event(), asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    folder = Path(folder)

    def told(message, descriptors):
        with (folder / "told").open("a") as file:
            file.write(f"{type(message).__name__} {len(descriptors)} {message}\n")
        close_all(descriptors)
        (held if isinstance(message, DetectorHeld) else settings).set()

    client = DetectorClient(socket.socket(fileno=int(link)), told, over.set)
    client.ready()
    await settings.wait()
    client.serving()
    await held.wait()
    client.tell(DetectorState(1.0, 2.0, 0, 0.01, 30.0, {"x": (5.0, False)}))
    said = 0
    while not over.is_set():
        await asyncio.sleep(0.01)
        lines = (folder / "say").read_text().splitlines() if (folder / "say").exists() else []
        for line in lines[said:]:
            match json.loads(line):
                case ["rules", *names]:
                    expires = time.monotonic_ns() + 60 * 10**9
                    slot = pack_rule(FilterRule(idle=True, expires_ns=expires))
                    rules = [DetectorRule(name, slot, [], f"text of {name}", expires, b"m") for name in names]
                    client.tell(DetectorRules(rules, len(names)))
                case ["forever", name]:
                    client.tell(DetectorRules([DetectorRule(name, pack_rule(FilterRule()), [], name, 2**62, b"m")], 9))
                case ["sampling", idle, used]:
                    client.tell(DetectorSampling(idle, used))
                case ["state", ready, learned]:
                    client.tell(DetectorState(1.0, 2.0, 0, 0.01, ready, {"x": (5.0, learned)}))
                case ["junk"]:
                    client._channel.send(DetectorParcel(b"junk"))
                case ["end"]:
                    os._exit(3)
        said = len(lines)
    client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
