import asyncio
import contextlib

from spectrum.control.configuration.loader import load_text
from spectrum.control.configuration.served import Served
from spectrum.control.dns.actor import DnsActor
from tests.control.plans import change, first
from tests.engine.harness import eventually


def text(server, *names):
    apps = "".join(
        f"  {name}: {{protocol: tcp/{number}, dns: {{type: CNAME, name: {name}.example.org}},"
        f" origin_direct: ['tcp://192.0.2.80:22']}}\n"
        for number, name in enumerate(names, 1)
    )
    dns = (
        f"dns: {{server: '127.0.0.1:{server.port}', zone: example.org, tsig_key: {server.key}, addresses: [192.0.2.7]}}"
    )
    return f"{dns}\napps:\n{apps or '  {}'}"


async def until(condition):
    await asyncio.to_thread(eventually, condition, 20)


@contextlib.asynccontextmanager
async def running(actor):
    (job,) = actor.jobs().values()
    task = asyncio.get_running_loop().create_task(job())
    try:
        yield
    finally:
        actor.halt()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_names_follow_what_is_served(tmp_path, server, caplog):
    start = first(text(server, "ssh"))
    served = Served(start.after.config)
    actor = DnsActor(tmp_path / "dns.json", served)
    await served.commit(start)
    await actor.prepare(start)
    async with running(actor):
        await until(lambda: server.lookup("ssh.example.org", "A") == ["192.0.2.7"])
        following = change(text(server, "ssh"), text(server, "web", "a"))
        await served.commit(following)
        await actor.release(following)
        await until(lambda: server.lookup("web.example.org", "A") and not server.lookup("ssh.example.org", "A"))
        await until(lambda: "DNS name a.example.org: it has records" in caplog.text)
        status = (await actor.status())["dns"]
        assert status["published"] == {"web.example.org": ["A 192.0.2.7"]}
        assert "Spectrum did not make" in status["failures"]["a.example.org"]
        names, updates, failed = await actor.metrics()
        assert {sample.labels["state"]: sample.value for sample in names.samples} == {"published": 1, "failed": 1}
        assert (updates.samples[0].value, failed.samples[0].value >= 1) == (3, True)


async def test_nothing_is_seen_of_it_where_nothing_is_published(tmp_path):
    served = Served(load_text("apps: {a: {protocol: tcp/1, origin_direct: ['tcp://192.0.2.80:22']}}", "f"))
    actor = DnsActor(tmp_path / "dns.json", served)
    assert (await actor.status(), list(await actor.metrics())) == ({}, [])
