"""Evaluation of access rules for a client: the most specific rule for the app decides. A prefix is more specific than
an autonomous system, and that than a country. Of prefixes the longest wins, and of two rules for the same the one that
allows. A client that matches no rule is allowed.
"""

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from spectrum.core.access.prefix_table import PrefixTableBuilder

if TYPE_CHECKING:  # A worker decodes settings without pydantic.
    from spectrum.core.access.lists import AddressList
    from spectrum.core.access.objects import AccessRule

UNKNOWN_COUNTRY = "XX"


class RuleSettings(msgspec.Struct, frozen=True, array_like=True):
    """One rule in the form for workers. `apps` None is all apps with access rules in its scope."""

    name: str
    target: str
    blocks: bool
    apps: tuple[str, ...] | None
    countries: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    file: str = ""
    # A zone or an account, as in `AppSettings.scopes`; empty for all.
    scope: str = ""


class AccessSettings(msgspec.Struct, frozen=True, array_like=True):
    """All rules. `lists` are those of the prefix table: rules by number, from 1, in order of precedence."""

    rules: tuple[RuleSettings, ...] = ()
    lists: tuple[tuple[int, ...], ...] = ((),)

    @property
    def knows_countries(self) -> bool:
        """Whether any rule names countries."""
        return any(rule.countries for rule in self.rules)

    @property
    def knows_numbers(self) -> bool:
        """Whether any rule names autonomous systems."""
        return any(rule.numbers for rule in self.rules)


class MatchedEntry(NamedTuple):
    """The entry of a rule that matches a client.

    Attributes:
        prefix: The longest of its prefixes that contains the client.
        place: Where that is defined, such as `/etc/spectrum/drop.txt:17`; "" if it is in the configuration itself.
    """

    prefix: str
    place: str

    def __str__(self) -> str:
        return f"{self.prefix} in {self.place}" if self.place else self.prefix


class Verdict(NamedTuple):
    """The result of a rule.

    Attributes:
        rule: Its name.
        blocks: Whether the client is refused.
        matched: Cloudflare's ClientMatchedIpFirewall.
    """

    rule: str
    blocks: bool
    matched: str


# spectrum_events has no values for a range, or for lists and files: all are IP.
_MATCHED = {
    ("ip", True): "BLOCK_IP",
    ("ip_range", True): "BLOCK_IP",
    ("country", True): "BLOCK_COUNTRY",
    ("asn", True): "BLOCK_ASN",
    ("ip", False): "WHITELIST_IP",
    ("ip_range", False): "WHITELIST_IP",
    ("country", False): "WHITELIST_COUNTRY",
    ("asn", False): "WHITELIST_ASN",
}


def verdict_of(rule: RuleSettings) -> Verdict:
    """Return the result of a rule for clients that it matches."""
    return Verdict(rule.name, rule.blocks, _MATCHED[rule.target, rule.blocks])


def basis_of(
    settings: AccessSettings, given: Callable[[bytes, int], tuple[int, int] | None], rule: str, client: bytes
) -> MatchedEntry | None:
    """Return the entry of a rule that matches a client; None if it names places, or the rule has been replaced.

    Args:
        settings: All rules.
        given: `PrefixTable.given` of their table.
        rule: Its name.
        client: The client's address in wire form.
    """
    number = next((place for place, known in enumerate(settings.rules, 1) if known.name == rule), 0)
    found = given(client, number)
    if found is None:
        return None
    bits, line = found
    file = settings.rules[number - 1].file
    return MatchedEntry(str(ip_network((client, bits), strict=False)), f"{file}:{line}" if file else "")


def gather(
    rules: Mapping[str, "AccessRule"],
    lines: Mapping[str, bytes],
    lists: "Mapping[str, AddressList] | None" = None,
) -> tuple[PrefixTableBuilder, list[RuleSettings], dict[str, list[tuple[int, str]]]]:
    """Compile the rules of a file.

    Args:
        rules: The rules by name.
        lines: The contents of rules' files, by the rule's name.
        lists: The lists that rules refer to, by name.

    Returns:
        The builder of the prefix table, the rules in their order, and the faults of each file: line and message.
    """
    builder = PrefixTableBuilder()
    settings: list[RuleSettings] = []
    faults: dict[str, list[tuple[int, str]]] = {}
    for number, (name, rule) in enumerate(rules.items(), 1):
        blocks = rule.action == "block"
        listed = None if rule.list_name is None else (lists or {})[rule.list_name]
        countries = tuple(rule.countries()) if rule.target == "country" else ()
        numbers = tuple(listed.numbers() if listed else rule.numbers()) if rule.target == "asn" else ()
        scope = scope_name(rule.zone, rule.account)
        settings.append(RuleSettings(name, rule.target, blocks, rule.apps, countries, numbers, rule.file or "", scope))
        if rule.target in ("country", "asn"):
            continue
        if rule.file is not None:
            _, found = builder.add_lines(lines.get(name, b""), number, not blocks)
            if found:
                faults[name] = found
            continue
        for network in listed.networks() if listed else rule.networks():
            builder.add(network.network_address.packed, network.prefixlen, number, not blocks)
    return builder, settings, faults


def scope_name(zone: str | None, account: str | None) -> str:
    """Return the name of a zone, or an account, in `AppSettings.scopes`; empty for neither."""
    return f"zone {zone}" if zone else f"account {account}" if account else ""


class AppRules:
    """The rules for one app.

    Args:
        app: Its name.
        settings: All rules.
        find: Returns the number of the list for an address.
        number_of: Returns the autonomous system of an address, 0 if unknown.
        country_of: Returns the country of an address, "" if unknown.
        scopes: Its zone and account, as `AppSettings.scopes` has them.
    """

    def __init__(
        self,
        app: str,
        settings: AccessSettings,
        find: Callable[[bytes], int],
        number_of: Callable[[bytes], int],
        country_of: Callable[[bytes], str],
        scopes: Sequence[str] = (),
    ) -> None:
        scopes = ("", *scopes)
        self._rules = [
            rule if rule.scope in scopes and (rule.apps is None or app in rule.apps) else None
            for rule in settings.rules
        ]
        self._lists = settings.lists
        # By the number of the list: created when a client first matches it, as there may be thousands.
        self._met: dict[int, Verdict | None] = {0: None}
        self._numbers = self._by_place(lambda rule: rule.numbers)
        self._countries = self._by_place(lambda rule: rule.countries)
        self._find, self._number_of, self._country_of = find, number_of, country_of

    def _by_place(self, places: Callable[[RuleSettings], Sequence[int | str]]) -> dict[int | str, Verdict]:
        found: dict[int | str, Verdict] = {}
        for rule in sorted(filter(None, self._rules), key=lambda rule: rule.blocks):  # Those that allow come first.
            for place in places(rule):
                found.setdefault(place, verdict_of(rule))
        return found

    @property
    def any(self) -> bool:
        """Whether the app has any rule."""
        return any(self._rules)

    @property
    def any_places(self) -> bool:
        """Whether any rule for the app names countries or autonomous systems: then prefixes alone do not decide."""
        return bool(self._numbers or self._countries)

    def decide(self, client: bytes) -> Verdict | None:
        """Return the result for a client, by its address in wire form; None if no rule matches it."""
        met = self._find(client)
        try:
            verdict = self._met[met]
        except KeyError:
            verdict = self._met[met] = self._of_list(met)
        if verdict is None and self._numbers:
            verdict = self._numbers.get(self._number_of(client))
        if verdict is None and self._countries:
            verdict = self._countries.get(self._country_of(client) or UNKNOWN_COUNTRY)
        return verdict

    def all_of(self, client: bytes) -> list[Verdict]:
        """Return the results of all rules that match a client, the deciding one first."""
        met = (self._rules[place - 1] for place in self._lists[self._find(client)])
        verdicts = [verdict_of(rule) for rule in met if rule is not None]
        number = self._numbers.get(self._number_of(client)) if self._numbers else None
        country = self._countries.get(self._country_of(client) or UNKNOWN_COUNTRY) if self._countries else None
        return [*verdicts, *(verdict for verdict in (number, country) if verdict is not None)]

    def _of_list(self, number: int) -> Verdict | None:
        for place in self._lists[number]:
            rule = self._rules[place - 1]
            if rule is not None:
                return verdict_of(rule)
        return None
