"""The objects that tests of kinds refer to: each name has an id that is made of it."""

from spectrum.api.kinds.kind import References
from spectrum.store.objects import StoredObject, file_id


class Known(References):
    """Names by section, and ids that are digests of them."""

    def __init__(self, **sections: list[str]) -> None:
        self._sections = sections

    def key_of(self, section: str, object_id: str) -> str | None:
        return next((name for name in self._sections.get(section, ()) if file_id(section, name) == object_id), None)

    def id_of(self, section: str, key: str) -> str | None:
        return file_id(section, key) if key in self._sections.get(section, ()) else None

    def key_named(self, section: str, name: str) -> str | None:
        return name if name in self._sections.get(section, ()) else None

    def name_of(self, section: str, key: str) -> str:
        return key

    def kind_of_list(self, key: str) -> str:
        return "asn" if key.startswith("asn") else "ip"


def stored(section: str, name: str, value: dict) -> StoredObject:
    """Return an object as the store has it."""
    return StoredObject(section, file_id(section, name), name, value, 1_700_000_000.25, 1_700_000_100.0, 1)


def has(answer: object, configured: object) -> bool:
    """Tell whether an answer has every value that a body configured, lists in their order."""
    if isinstance(configured, dict):
        return isinstance(answer, dict) and all(
            has(answer.get(key), item) for key, item in configured.items() if item is not None
        )
    if isinstance(configured, list):
        return isinstance(answer, list) and len(answer) == len(configured) and all(map(has, answer, configured))
    return answer == configured and type(answer) is type(configured)
