import shutil
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from spectrum.control.configuration.actor import Change, ConfigDifference, RolloutError
from spectrum.control.configuration.served import Served
from spectrum.control.http.resource import ResourceRequest
from spectrum.control.tls.acme.actor import BUSY_PAUSE_S, AcmeActor
from spectrum.control.tls.acme.folder import AcmeFolder
from spectrum.control.tls.acme.messages import ChallengeAnswer, Failed, Found, Issued
from spectrum.core.tls.renewal import OrderState
from spectrum.core.tls.settings import CertificateSettings
from tests.certificates import Authority
from tests.control.plans import first

TEXT = """\
acme: {{folder: {folder}, http: "127.0.0.1:{port}"}}
certificates: {{auto: {{acme: {{names: [a.example], accept_terms: true, directory: "https://ca.example/d"}}}}}}
apps: {{x: {{protocol: tcp/443, origin_direct: ['tcp://192.0.2.1:80'], tls: flexible}}}}
"""
PLAIN = "apps: {x: {protocol: tcp/80, origin_direct: ['tcp://192.0.2.1:80']}}\n"


class Process:
    """Stands for the process of an order: says what it is given, in turn."""

    def __init__(self, *said):
        self.said, self.works, self.meanwhile = list(said), [], None

    async def run(self, work):
        self.works.append(work)
        if self.meanwhile:
            await self.meanwhile()
        return self.said.pop(0)

    def kill(self):
        self.said.clear()


class Parts:
    def __init__(self, tmp_path, port):
        self.folder, self.told, self.asked = tmp_path / "acme", [], 0
        self.change = first(TEXT.format(folder=self.folder, port=port))
        self.actor = self.made()

    def made(self, *said):
        async def asked():
            self.asked += 1

        served = Served(self.change.after.config)
        actor = AcmeActor(served, lambda challenges: self.told.append(challenges), asked)
        actor._process = self.process = Process(*said)
        return actor

    async def status(self):
        [one] = (await self.actor.status())["acme"]
        return one

    def issue(self, days=30):
        one = Authority().issue("a.example", days=days)
        AcmeFolder(self.folder).certificate("auto").write_bytes(one.chain + one.key)
        return one.certificate.not_valid_after_utc.timestamp()


@pytest.fixture
async def parts(tmp_path, free_port):
    made = Parts(tmp_path, free_port())
    await made.actor.prepare(made.change)
    yield made
    await made.actor.close()


async def test_an_order_then_the_time_of_the_next(parts):
    now = time.time()
    parts.process.said = [Issued(now, now + 90 * 86400), Found(0.0, now + 3600)]
    assert await parts.actor._step() == 0.0
    [work] = parts.process.works
    assert (work.name, work.names, work.only_looks) == ("auto", ("a.example",), False)
    parts.issue()
    assert await parts.actor._step() == 0.0, "the CA is asked when to renew it"
    assert parts.process.works[1].only_looks
    assert 3500 < await parts.actor._step() <= 3600
    status = await parts.status()
    assert now + 56 * 86400 < status["renew_at"] < now + 61 * 86400
    assert (status["failures"], status["ordering"]) == (0, False)
    assert list(parts.actor.troubles()) == []
    samples = {sample.name: sample.value for family in await parts.actor.metrics() for sample in family.samples}
    assert samples["spectrum_acme_orders_total"] == 1
    assert samples["spectrum_acme_failures_total"] == 0
    assert samples["spectrum_acme_next_order_timestamp_seconds"] == status["renew_at"]


async def test_a_failure_is_waited_for_also_by_the_next_daemon(parts, caplog):
    parts.process.said = [Failed("the CA refuses", True, 7200.0)]
    await parts.actor._step()
    assert 7000 < await parts.actor._step() <= 7200
    assert "not issued: the CA refuses; there is none yet" in caplog.text
    parts.actor = parts.made()
    assert 7000 < await parts.actor._step() <= 7200
    assert (await parts.status())["failure"] == "the CA refuses"


@pytest.mark.parametrize("step", [-40 * 86400, 40 * 86400])
async def test_a_clock_that_is_stepped_after_a_failure(parts, monkeypatch, step):
    parts.process.said = [Failed("the CA refuses", True), Failed("the CA refuses", True)]
    await parts.actor._step()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + step)
    for _ in range(2):
        if step < 0:
            assert 550 < await parts.actor._step() <= 751, "no longer than the pause"
        parts.actor = parts.made(Failed("the CA refuses", True))
    if step > 0:
        assert await parts.actor._step() == 0.0, "it tries once"
        assert 1100 < await parts.actor._step() <= 1501, "and pauses for longer"
        assert len(parts.process.works) == 1


async def test_a_renewal_that_fails_leaves_what_there_is(parts, caplog):
    ends_at = parts.issue()
    parts.process.said = [Failed("down")]
    await parts.actor._step()
    assert "the one in use is valid until" in caplog.text
    assert (await parts.status())["ends_at"] == int(ends_at)
    (trouble,) = parts.actor.troubles()
    assert (trouble.kind, trouble.severity, trouble.name) == ("certificate_not_ordered", "degraded", "auto")
    assert (trouble.facts["failures"], trouble.facts["why"]) == (1, "down")


async def test_a_failure_by_a_clock_that_was_ahead_is_no_finding(parts, monkeypatch):
    now = time.time
    parts.issue()
    standing = OrderState(asked=_asked(parts), renew_at=now() + 86400, ask_at=now() + 86400)
    AcmeFolder(parts.folder).keep_standing("auto", standing)
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: now() + 2 * 86400)
        parts.process.said = [Failed("it is another day by the clock of the CA"), Failed("so it is")]
        await parts.actor._step()
        await parts.actor._step()
        assert [one.kind for one in parts.actor.troubles()] == ["certificate_not_ordered"]
    await parts.actor._step()
    assert list(parts.actor.troubles()) == []
    status = await parts.status()
    assert (status["failures"], status["failure"], status["try_at"]) == (0, "", 0.0)


async def test_a_full_disk_does_not_hurry_the_ca(parts, caplog):
    (parts.folder / "auto.json.new").mkdir()
    parts.process.said = [Failed("disk", True)]
    await parts.actor._step()
    assert "cannot be saved" in caplog.text
    assert await parts.actor._step() > 500


async def test_another_process_that_orders_is_no_failure(parts):
    parts.process.said = [Failed("in use", counts=False)]
    assert await parts.actor._step() == BUSY_PAUSE_S
    assert (await parts.status())["failures"] == 0


async def test_the_ca_wants_it_to_be_renewed_now(parts, caplog):
    ends_at = parts.issue()
    asked = parts.made()
    standing = OrderState(asked=_asked(parts), renew_at=ends_at)
    AcmeFolder(parts.folder).keep_standing("auto", standing)
    parts.actor = asked
    parts.process.said = [Found(1000.0, time.time() + 9999), Issued(1.0, time.time() + 9e6)]
    await asked._step()
    assert "wants it to be renewed now" in caplog.text
    await asked._step()
    assert not parts.process.works[1].only_looks
    parts.process.said = [Failed("silent")]
    await asked._step()
    assert "does not say when to renew it: silent" in caplog.text


def _asked(parts):
    from spectrum.control.tls.acme import actor

    return actor._asked(parts.change.after.config.certificates["auto"].acme)


async def test_workers_have_a_challenge_before_the_ca_is_asked_to_validate(parts):
    async def meanwhile():
        await parts.actor._show(ChallengeAnswer("tls-alpn-01", "a.example", "chain", "key"))
        await parts.actor._show(ChallengeAnswer("http-01", "token", "content"))
        seen.append((list(parts.told[-1]), parts.asked))
        parts.actor.tell(Worker())

    class Worker:
        def tell_challenges(self, challenges):
            seen.append(challenges)

    seen = []
    parts.process.said, parts.process.meanwhile = [Failed("x")], meanwhile
    await parts.actor._step()
    (given, asked), later = seen
    assert [(one.name, one.chain, one.key) for one in given] == [("a.example", b"chain", b"key")]
    assert asked == 1 and later == given
    assert parts.told[-1] == [], "they forget it"
    assert "key" not in repr(given)


async def test_a_folder_that_others_can_write_to_is_refused(parts):
    Path(parts.folder).chmod(0o777)
    with pytest.raises(RolloutError, match=r"acme.folder: .* can be written by other users"):
        await parts.actor.prepare(parts.change)
    parts.folder.rmdir()
    parts.folder.write_text("a file")
    with pytest.raises(RolloutError, match=r"acme.folder: .*: file exists"):
        await parts.actor.prepare(parts.change)
    parts.folder.unlink()


async def test_a_change_of_other_objects_has_nothing_looked_at(parts):
    config = parts.change.after.config
    for names, looks in (({"apps": ["x"]}, False), ({"certificates": ["auto"]}, True)):
        parts.actor._wake.clear()
        shutil.rmtree(parts.folder, ignore_errors=True)
        after = replace(parts.change.after, since=ConfigDifference(config, names))
        one = Change(replace(parts.change.after), after)
        await parts.actor.prepare(one)
        await parts.actor.release(one)
        assert (parts.actor._wake.is_set(), parts.folder.exists()) == (looks, looks)


async def test_nothing_is_there_without_certificates_by_acme(tmp_path):
    async def told():
        pass

    one = first(PLAIN)
    actor = AcmeActor(Served(one.after.config), lambda challenges: None, told)
    await actor.prepare(one)
    assert await actor.status() == {} and await actor.metrics() == ()
    assert await actor._step() > 0
    assert list(actor.jobs()) == ["order certificates"]
    actor.halt()
    actor.leave()
    await actor.release(one)
    await actor.close()


async def test_certificates_that_are_served(tmp_path, free_port):
    parts = Parts(tmp_path, free_port())
    resource, *_ = parts.actor.resources()
    assert (resource.path, await resource.answer(ResourceRequest({}))) == ("/certificates", {"certificates": []})
    plan = parts.change.after
    one = CertificateSettings("auto", b"", b"", b"", ("a.example",), "ecdsa", 5, True)
    issued = CertificateSettings("issued", Authority().issue("b.example").chain, b"", b"", ("b.example",))
    tls = msgspec.structs.replace(plan.snapshot.tls, certificates=(one, issued))
    after = replace(plan, snapshot=msgspec.structs.replace(plan.snapshot, tls=tls))
    await parts.actor._served.commit(replace(parts.change, after=after))
    shown, other = (await resource.answer(ResourceRequest({})))["certificates"]
    assert (shown["issuer"], other["issuer"][:3]) == ("", "CN=")
    assert (shown["name"], list(shown["names"]), shown["temporary"]) == ("auto", ["a.example"], True)
    assert shown["order"]["certificate"] == "auto"


def asked_for(parts, path, name="auto"):
    """Ask the actor to do something with a certificate."""
    resource = next(one for one in parts.actor.resources() if one.path == path)
    return resource.answer(ResourceRequest({"name": name}))


async def test_one_whose_order_failed_is_ordered_again_at_once(parts):
    parts.process.said = [Failed("the CA refuses", True, 7200.0), Failed("again", True)]
    await parts.actor._step()
    assert await parts.actor._step() > 7000
    parts.actor._wake.clear()
    await asked_for(parts, "/certificates/order")
    assert parts.actor._wake.is_set()
    await parts.actor._step()
    assert (await parts.status())["failures"] == 2, "the next pause is longer"
    assert await parts.actor._step() > 1000


async def test_what_is_not_ordered_at_once(parts):
    for name, says in (("x", "is not by ACME"), ("../x", "is not a name for a certificate")):
        with pytest.raises(ValueError, match=says):
            await asked_for(parts, "/certificates/order", name)
    parts.issue()
    parts.process.said = [Issued(1.0, time.time() + 9e6)]

    async def meanwhile():
        with pytest.raises(ValueError, match="it is being ordered"):
            await asked_for(parts, "/certificates/order")

    parts.process.meanwhile = meanwhile
    await parts.actor._step()
    with pytest.raises(ValueError, match="renewed by itself"):
        await asked_for(parts, "/certificates/order")


async def test_nothing_is_kept_of_one_that_is_no_more(parts):
    with pytest.raises(ValueError, match="is in use"):
        await asked_for(parts, "/certificates/forget")
    AcmeFolder(parts.folder).keep_standing("gone", OrderState(failures=1))
    (parts.folder / "gone.pem").touch()
    await asked_for(parts, "/certificates/forget", "gone")
    assert not list(parts.folder.glob("gone*"))


async def test_one_that_is_removed_while_it_is_ordered(parts):
    async def meanwhile():
        parts.actor._served.plan = first(PLAIN).after
        await asked_for(parts, "/certificates/forget")
        parts.process.said = [Failed("killed")]
        parts.issue()

    parts.process.said, parts.process.meanwhile = [Failed("x")], meanwhile
    await parts.actor._step()
    assert not list(parts.folder.glob("auto*"))


async def test_an_authority_of_the_file_is_asked(tmp_path, free_port):
    parts = Parts(tmp_path, free_port())
    ours = "{directory: 'https://ours.example/d', accept_terms: true}"
    acme = f"acme: {{folder: {tmp_path}/acme, authorities: {{ours: {ours}}}}}"
    order = "certificates: {auto: {acme: {names: [a.example], authority: ours}}}"
    parts.change = first(f"{acme}\n{order}\n{PLAIN.replace('tcp/80', 'tcp/81')}")
    parts.actor = parts.made(Failed("x"))
    await parts.actor.prepare(parts.change)
    await parts.actor._step()
    (work,) = parts.process.works
    assert (work.directory, work.challenge) == ("https://ours.example/d", "http-01")
    await parts.actor.close()
