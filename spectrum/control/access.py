"""Access rules of a file and the lists that they name, compiled into the tables that workers look up."""

from collections.abc import Mapping
from operator import is_not
from pathlib import Path

from spectrum.core.access.lists import AddressList
from spectrum.core.access.objects import AccessRule
from spectrum.core.access.prefix_table import PrefixTableBuilder
from spectrum.core.access.rules import AccessSettings, RuleSettings, gather
from spectrum.core.configuration.config import Config
from spectrum.core.configuration.faults import Fault
from spectrum.plane.access.geoip import Countries, GeoIpError, Networks

# Faults reported of one list file; a file of another kind would have one on every line.
MAX_FAULTS_SHOWN = 5


class AccessError(Exception):
    """A list that cannot be used; the message has a line for each fault: file, line, what is wrong."""


def _read(rules: Mapping[str, AccessRule]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the contents of the rules' list files, and why others cannot be read, by the rule's name."""
    lines: dict[str, bytes] = {}
    faults: dict[str, str] = {}
    for name, rule in rules.items():
        if rule.file is not None:
            try:
                lines[name] = Path(rule.file).read_bytes()
            except OSError as exc:
                faults[name] = f"{rule.file}: cannot be read: {(exc.strerror or str(exc)).lower()}"
    return lines, faults


def access_paths(config: Config) -> list[Path]:
    """Return the files from which access rules take addresses and places."""
    named = [rule.file for rule in config.access_rules.values()]
    if config.geoip is not None:
        named += [config.geoip.database, config.geoip.asn_database]
    return [Path(path) for path in named if path]


def access_faults(config: Config) -> list[Fault]:
    """Return the faults of the lists that rules name, and of the databases of places."""
    faults = []
    for key, kind in (("database", Countries), ("asn_database", Networks)):
        path = getattr(config.geoip, key, None)
        try:
            if path is not None:
                kind(Path(path)).close()
        except GeoIpError as exc:
            faults.append(Fault(("geoip", key), str(exc)))
    lists = _gather(config.access_rules, config.lists)[2]
    return faults + [Fault(("access_rules", name, "file"), message) for name, message in lists]


class AccessLoader:
    """Loads the rules of successive configurations; rules without files are compiled once."""

    def __init__(self) -> None:
        self._names: tuple[list[str], list[str]] | None = None
        self._objects: list[object] = []
        self._made = AccessSettings(), b""

    def load(self, config: Config) -> tuple[AccessSettings, bytes]:
        """Return the rules, and the table of their prefixes for `PrefixTable`.

        Raises:
            AccessError: If a list cannot be read, or a line of it.
        """
        names = list(config.access_rules), list(config.lists)
        # Those that did not change are the same objects (`KnownObjects`).
        objects: list[object] = [*config.access_rules.values(), *config.lists.values()]
        if names != self._names or any(map(is_not, objects, self._objects)):
            self._names = None
            self._made = load_access(config)
            has_files = any(rule.file is not None for rule in config.access_rules.values())
            self._names, self._objects = (None if has_files else names), objects
        return self._made


def load_access(config: Config) -> tuple[AccessSettings, bytes]:
    """Return the rules, and the table of their prefixes for `PrefixTable`.

    Raises:
        AccessError: If a list cannot be read, or a line of it.
    """
    builder, settings, faults = _gather(config.access_rules, config.lists)
    if faults:
        raise AccessError("\n".join(f"access rule {name}: {message}" for name, message in faults))
    table = builder.build()
    return AccessSettings(tuple(settings), tuple(builder.lists)), table


def _has_list(rule: AccessRule, listed: Mapping[str, AddressList]) -> bool:
    """Return whether the list of a rule exists and has the right kind; if not, the file's check reports it."""
    found = listed.get(str(rule.list_name))
    return found is not None and found.kind == rule.list_kind


def _gather(
    rules: Mapping[str, AccessRule], listed: Mapping[str, AddressList]
) -> tuple[PrefixTableBuilder, list[RuleSettings], list[tuple[str, str]]]:
    """Read every list; faults are keyed by the rule's name."""
    lines, unread = _read(rules)
    rules = {name: rule for name, rule in rules.items() if rule.list_name is None or _has_list(rule, listed)}
    builder, settings, wrong = gather(rules, lines, listed)
    faults = list(unread.items())
    for name, found in wrong.items():
        faults += [(name, f"{rules[name].file}:{line}: {message}") for line, message in found[:MAX_FAULTS_SHOWN]]
        if len(found) > MAX_FAULTS_SHOWN:
            faults.append((name, f"{rules[name].file}: and more lines like this"))
    return builder, settings, faults
