import logging
import os

import pytest

from spectrum.core.ddos.packets import NO_APP
from spectrum.core.ddos.predicates import Conjunction, Predicate
from spectrum.core.ddos.profile import Profile
from spectrum.core.ddos.profile_header import read_header
from spectrum.core.ddos.recurrence import PastAttack
from spectrum.detector.profiles import KEPT_S, AppKey, ProfileStore
from spectrum.simulation.normal import DNS, GAME, WEB
from tests.core.ddos.mix import learned

APPS = {GAME: AppKey("game", "udp 203.0.113.10:7000"), WEB: AppKey("web"), DNS: AppKey("dns", "udp 203.0.113.53:53")}
NOW = 1_000_000.0


@pytest.fixture
def store(tmp_path):
    return ProfileStore(tmp_path)


def saved(store, apps=APPS):
    _, profile = learned()
    store.save(profile, apps, NOW)
    return profile


def loaded(store, apps=APPS, at=NOW + 10):
    profile = Profile(5)
    return profile, store.load(profile, apps, at)


def test_profiles_outlast_a_restart(store, tmp_path):
    profile = saved(store)
    assert len(list(tmp_path.iterdir())) == 4  # three apps, and what no app gets
    again, count = loaded(store)
    assert count == 3 and again.is_ready and set(again.apps) == {GAME, WEB, DNS, NO_APP}
    assert again.rates_of(GAME).tolist() == profile.rates_of(GAME).tolist()
    assert again.known_rate == profile.known_rate
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_apps_that_have_other_numbers_or_names(store, tmp_path, caplog):
    profile = saved(store)
    caplog.set_level(logging.INFO)
    apps = {3: AppKey("web"), 9: AppKey("arena", "udp 203.0.113.10:7000"), 4: AppKey("new", "udp 192.0.2.1:1")}
    again, count = loaded(store, apps)
    assert count == 3 - 1 and set(again.apps) == {3, 9, NO_APP}
    assert again.rates_of(9).tolist() == profile.rates_of(GAME).tolist()
    assert (again.normal.packets["app"][again.normal.packets["length"] > 0] >= NO_APP).all()
    assert set(again.normal.packets["app"].tolist()) == {3, 9, NO_APP}
    assert "the profile of app game is that of arena now" in caplog.text
    assert not store.path_of("game").exists() and store.path_of("dns").exists()


def test_profiles_of_apps_that_are_gone_are_removed_after_a_week(store, caplog):
    saved(store)
    caplog.set_level(logging.INFO)
    loaded(store, {WEB: AppKey("web")}, NOW + KEPT_S - 1)
    assert store.path_of("game").exists()
    loaded(store, {WEB: AppKey("web")}, NOW + KEPT_S + 1)
    assert not store.path_of("game").exists() and store.path_of("web").exists()
    assert "the profile of app game is removed" in caplog.text


def test_damaged_files_are_set_aside_and_said(store, tmp_path, caplog):
    saved(store)
    path = store.path_of("game")
    path.write_bytes(path.read_bytes()[:-5])
    _, count = loaded(store)
    assert count == 2 and path.with_suffix(".damaged").exists() and not path.exists()
    assert "the profile is learned again: its content does not match its digest" in caplog.text


def test_links_are_not_followed(store, tmp_path, caplog):
    saved(store)
    path = store.path_of("game")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert loaded(store)[1] == 2 and "cannot be read" in caplog.text


def test_without_files_everything_is_learned(store):
    profile, count = loaded(store)
    assert count == 0 and not profile.is_ready and profile.apps == ()


def test_files_are_saved_each_minute_a_few_at_a_time(store, tmp_path):
    _, profile = learned()
    for look in range(len(profile.apps) + 3):
        store.save_due(profile, APPS, NOW + look / 4)
        assert len(list(tmp_path.iterdir())) <= look + 1
    assert len(list(tmp_path.iterdir())) == 4
    before = os.stat(store.path_of("game")).st_mtime_ns
    store.save_due(profile, APPS, NOW + 30)
    assert os.stat(store.path_of("game")).st_mtime_ns == before
    for look in range(10):
        store.save_due(profile, APPS, NOW + 61 + look / 4)
    header, _ = read_header(store.path_of("game").read_bytes())
    assert header.saved >= NOW + 61


def test_a_folder_that_is_gone_is_reported_once(tmp_path, caplog):
    store = ProfileStore(tmp_path / "none")
    _, profile = learned()
    for _ in range(2):
        store.save(profile, APPS, NOW)
    assert caplog.text.count("profiles cannot be saved, and are lost at a restart: No such file") == 1


def test_attackers_are_known_after_a_restart(store, tmp_path, caplog):
    assert store.load_attackers() == ()
    what = Conjunction((Predicate("payload[:8]", "is", (2**64 - 1,)), Predicate("source/24", "in", (1, 2))))
    attacks = (PastAttack(what, 3, NOW),)
    store.save_attackers(attacks)
    assert store.load_attackers() == attacks
    (tmp_path / "attackers.json").write_text("{")
    assert store.load_attackers() == () and "earlier attacks are forgotten" in caplog.text
