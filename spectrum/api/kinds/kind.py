"""Common parts of all kinds of objects: a body of the API is nearly the value in the file.

A `Kind` defines the differences. Its functions are independent of requests and store: `References` translates between
ids in bodies and names in values.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from spectrum.api.envelope import ApiError, BodyFault, ErrorDetail, pointer_to
from spectrum.api.kinds.times import timestamp
from spectrum.core.configuration.faults import Path, faults_of
from spectrum.core.durations import parse_duration_s
from spectrum.store.objects import StoredObject

Body = Mapping[str, Any]
Value = dict[str, Any]
# Fields of answers, which clients may send back unchanged.
STAMPS = frozenset({"id", "created_on", "modified_on"})
MAX_ERRORS = 20


class References(Protocol):
    """The objects that a caller may refer to: those of its account."""

    def key_of(self, section: str, object_id: str) -> str | None:
        """Return the name of an object in the file, by its id; None where the caller has no such object."""

    def id_of(self, section: str, key: str) -> str | None:
        """Return the id of an object, by its name in the file."""

    def key_named(self, section: str, name: str) -> str | None:
        """Return the name of an object in the file, by its name in the API."""

    def name_of(self, section: str, key: str) -> str:
        """Return the name of an object in the API, by its name in the file."""

    def kind_of_list(self, key: str) -> str:
        """Return the kind of a list, by its name in the file: ip or asn."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object.

    Attributes:
        section: The section of the file.
        noun: The word for an object in messages.
        model: The model of the file.
        to_value: Returns the value of a body; raises BodyFault.
        to_body: Returns the body that makes a value, without defaults.
        from_value: Returns the answer's `result`.
        place: Returns the place in a body of a place in its value.
        code: Returns Cloudflare's code of a fault at a place of the value.
        api_name: Returns the name of an object in the API.
    """

    section: str
    noun: str
    model: type[BaseModel]
    to_value: Callable[[Body, References], Value]
    to_body: Callable[[Value, References], Value]
    from_value: Callable[[StoredObject, References], Value]
    place: Callable[[Path, Body], Path]
    code: Callable[[Path], int]
    api_name: Callable[[StoredObject], str]

    def refusal(self, faults: Sequence[tuple[Path, str]], body: Body) -> ApiError:
        """Return the answer to faults of the file's checks: places in the value of a body, and messages."""
        first, *more = [
            ErrorDetail(self.code(place), message, pointer_to(self.place(place, body)))
            for place, message in faults[:MAX_ERRORS]
        ]
        return ApiError(400, first.code, first.message, first.pointer, more=more)

    def checked(self, body: Body, refs: References) -> Value:
        """Return the value of a body, checked by itself.

        Raises:
            ApiError: If it is invalid.
        """
        value = self.to_value(body, refs)
        if faults := model_faults(self.model, value):
            raise self.refusal(faults, body)
        return value


def model_faults(model: type[BaseModel], value: Value) -> list[tuple[Path, str]]:
    """Return the places and messages of a value's faults, without other objects."""
    try:
        model.model_validate(value)
    except ValidationError as exc:
        return [(fault.path, fault.message) for fault in faults_of(exc, model, ())]
    return []


def keys_of(model: type[BaseModel]) -> frozenset[str]:
    """Return the keys of a mapping of the file."""
    return frozenset(field.alias or name for name, field in model.model_fields.items())


def given(body: Body, read_only: Collection[str] = ()) -> Value:
    """Return the fields that a body sets: without nulls, which mean the default, and without fields of answers."""
    return {key: _without_nulls(item) for key, item in body.items() if item is not None and key not in read_only}


def _without_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_nulls(item) for key, item in node.items() if item is not None}
    if isinstance(node, list):
        return [_without_nulls(item) for item in node]
    return node


def seconds(value: Any) -> int | float:
    """Return a duration of the file in seconds, for the API."""
    parsed = parse_duration_s(value)
    return int(parsed) if parsed == int(parsed) else parsed


def stamped(obj: StoredObject, fields: Value) -> Value:
    """Return an answer's `result` with the object's id and times."""
    stamps = {"id": obj.id, "created_on": timestamp(obj.created_on), "modified_on": timestamp(obj.modified_on)}
    return {**stamps, **fields}


def same_place(place: Path, body: Body) -> Path:
    """Return a place unchanged, for kinds whose body and value have the same places."""
    return place


def refuse(code: int, message: str, *place: str | int, status: int = 400) -> ApiError:
    """Return the error for an invalid body."""
    if status == 400:
        return BodyFault(code, message, pointer_to(place))
    return ApiError(status, code, message, pointer_to(place))
