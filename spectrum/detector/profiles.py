"""Profiles of apps in files, one per app, written atomically (rename(2), fsync(2))."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from spectrum.core.ddos.packets import NO_APP
from spectrum.core.ddos.profile import WEEK_S, AppMemory, Profile
from spectrum.core.ddos.profile_file import decode_profile, encode_profile
from spectrum.core.ddos.profile_header import MOST_BYTES, ProfileFileError, ProfileHeader
from spectrum.core.ddos.recurrence import PastAttack
from spectrum.kernel.whole_files import replace_file

log = logging.getLogger(__name__)

SUFFIX = ".profile"
DAMAGED = ".damaged"
SAVE_S = 60.0
# Lifetime of profiles of removed apps: apps may be added again.
KEPT_S = WEEK_S
# Calls in which all files are saved once: a minute of looks.
CALLS = 200


@dataclass(frozen=True, slots=True)
class AppKey:
    """The identity of an app.

    Attributes:
        name: Its name.
        serves: Its address and ports as text; an app of another name with the same ones is the same, renamed. Empty if
            renamed apps are new ones.
    """

    name: str
    serves: str = ""


UNSERVED = AppKey("")
ATTACKERS = "attackers.json"
_ATTACKERS = msgspec.json.Decoder(tuple[PastAttack, ...])


class ProfileStore:
    """Saves and loads the profiles.

    Args:
        folder: The folder of the files; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._due: list[int] = []
        self._due_at: float | None = None
        self._has_failed = False

    def load(self, profile: Profile, apps: Mapping[int, AppKey], at: float) -> int:
        """Load the saved apps into a profile; return their number.

        Args:
            profile: An empty profile.
            apps: By their numbers.
            at: Now, in seconds since 1970.
        """
        found = {header.app: (path, header, memory) for path, header, memory in self._read()}
        wanted = {key.name: number for number, key in apps.items()} | {UNSERVED.name: NO_APP}
        by_place = {key.serves: number for number, key in apps.items() if key.serves and key.name not in found}
        known_rate, count = 0.0, 0
        for name, (path, header, memory) in found.items():
            number = wanted.get(name)
            if number is None and name and header.serves in by_place:
                number = by_place.pop(header.serves)
                log.info("the profile of app %s is that of %s now, which listens where it did", name, apps[number].name)
                path.unlink(missing_ok=True)
            if number is None:
                self._forget(path, header, at)
                continue
            profile.recall(number, memory, at)
            profile.adaptive.recall(number, list(header.maxima))
            known_rate, count = max(known_rate, header.known_rate), count + bool(name)
        if count:
            profile.resume(known_rate)
        return count

    def _read(self) -> Iterator[tuple[Path, ProfileHeader, AppMemory]]:
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            try:
                with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                    header, memory = decode_profile(file.read(MOST_BYTES + 1))
            except ProfileFileError as exc:
                aside = path.with_suffix(DAMAGED)
                log.warning("%s: the profile is learned again: %s; the file is renamed to %s", path, exc, aside.name)
                path.replace(aside)
            except OSError as exc:
                log.warning("%s: the profile is learned again, as it cannot be read: %s", path, exc.strerror or exc)
            else:
                yield path, header, memory

    def _forget(self, path: Path, header: ProfileHeader, at: float) -> None:
        if at - header.saved > KEPT_S:
            log.info("the profile of app %s is removed: there is no such app any longer", header.app)
            path.unlink(missing_ok=True)

    def save_due(self, profile: Profile, apps: Mapping[int, AppKey], at: float) -> None:
        """Save some of the profiles that were not saved for a minute; to be called after each look.

        Args:
            profile: The profiles.
            apps: By their numbers.
            at: Now, in seconds since 1970.
        """
        # A clock that was set back causes a save at once, rather than never.
        if not self._due and (self._due_at is None or not 0 <= at - self._due_at < SAVE_S):
            self._due, self._due_at = list(profile.apps), at
        count = 1 + len(profile.apps) // CALLS
        now, self._due = self._due[:count], self._due[count:]
        self._save(profile, apps, at, now)

    def save(self, profile: Profile, apps: Mapping[int, AppKey], at: float) -> None:
        """Save all profiles, at the end."""
        self._save(profile, apps, at, profile.apps)

    def _key(self, number: int, apps: Mapping[int, AppKey]) -> AppKey:
        return UNSERVED if number == NO_APP else apps.get(number, UNSERVED)

    def _save(self, profile: Profile, apps: Mapping[int, AppKey], at: float, numbers: Sequence[int]) -> None:
        for number in numbers:
            key, memory = self._key(number, apps), profile.memory_of(number, at)
            if memory is None or (key is UNSERVED and number != NO_APP):
                continue
            profile.share_rows(number)
            maxima = profile.adaptive.maxima_of(number)
            sure = profile.certainty_of(number, at)
            data = encode_profile(key.name, key.serves, memory, maxima, profile.known_rate, sure)
            self._try_replace(self.path_of(key.name), data)

    def _try_replace(self, path: Path, data: bytes) -> None:
        try:
            replace_file(path, data)
        except OSError as exc:
            if not self._has_failed:  # logged once, not each minute
                log.warning("%s: profiles cannot be saved, and are lost at a restart: %s", self._folder, exc.strerror)
            self._has_failed = True
        else:
            self._has_failed = False

    def load_attackers(self) -> tuple[PastAttack, ...]:
        """Return the saved attacks, for `Detector.recall`."""
        path = self._folder / ATTACKERS
        try:
            return _ATTACKERS.decode(path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.MsgspecError) as exc:
            log.warning("%s: earlier attacks are forgotten: %s", path, exc)
            return ()

    def save_attackers(self, attacks: Sequence[PastAttack]) -> None:
        """Save the attacks of `Detector.attackers`; to be called when one begins or ends."""
        self._try_replace(self._folder / ATTACKERS, msgspec.json.encode(attacks))

    def path_of(self, name: str) -> Path:
        """Return the file of an app."""
        stem = blake2b(name.encode(), digest_size=16).hexdigest() if name else "unserved"
        return self._folder / f"{stem}{SUFFIX}"
