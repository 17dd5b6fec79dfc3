"""Bodies of requests that are no objects of the file."""

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator


def _printable(name: str) -> str:
    if not name.isprintable() or name.isspace():
        raise ValueError("expected printable characters, more than spaces")
    return name


PrintableName = Annotated[str, AfterValidator(_printable)]


class RequestBody(BaseModel):
    """A body: a field that it does not have is refused, as it would be ignored silently.

    Attributes:
        READ_ONLY: Fields of answers, which clients may send back; they are ignored.
    """

    model_config = ConfigDict(extra="forbid")
    READ_ONLY: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_read_only(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: item for key, item in value.items() if key not in cls.READ_ONLY}
