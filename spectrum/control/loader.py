"""From a file to a checked `Config`, or to every fault of it at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from spectrum.control.yaml_marks import Document, Place
from spectrum.core.address import IPAddress
from spectrum.core.checks import check_apps
from spectrum.core.config import App, Config, Settings, check_app_name, describe
from spectrum.core.faults import Fault, faults_of
from spectrum.kernel.sockets import local_addresses


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A fault with its place: `file:line:column: path: message`."""

    file: str
    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{self.file}:{self.place.line}:{self.place.column}: {where}{self.message}"


class ConfigError(Exception):
    """A file that can not be used; `diagnostics` lists every reason."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        super().__init__("\n".join(map(str, diagnostics)))
        self.diagnostics = diagnostics


def load_file(path: Path) -> Config:
    """Return the configuration in a file.

    Raises:
        ConfigError: With every fault of the file, in the order of its lines.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        message = (exc.strerror or str(exc)).lower()
        raise ConfigError([Diagnostic(str(path), Place(1, 1), "", f"can not be read: {message}")]) from exc
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise ConfigError([Diagnostic(str(path), Place(line, 1), "", "not UTF-8 text")]) from exc
    return load_text(text, str(path), local_addresses())


def load_text(text: str, name: str, local: Iterable[IPAddress] = ()) -> Config:
    """Return the configuration in a text; `name` is what diagnostics call it, `local` this machine's addresses.

    Raises:
        ConfigError: With every fault of the text, in the order of its lines.
    """
    document = Document(text)
    diagnostics = [Diagnostic(name, fault.place, "", fault.message) for fault in document.faults]
    if document.value is None and diagnostics:
        raise ConfigError(diagnostics)
    settings, apps, faults = _validate(document.value)
    if apps:
        metrics = settings.metrics.listen if settings and settings.metrics else None
        faults += check_apps(apps, local, metrics)
    diagnostics += [_diagnostic(name, document, fault) for fault in faults]
    if diagnostics or settings is None:
        raise ConfigError(sorted(diagnostics, key=lambda diagnostic: diagnostic.place))
    return Config.model_construct(**dict(settings), apps=apps)


def _diagnostic(name: str, document: Document, fault: Fault) -> Diagnostic:
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in fault.path).lstrip(".")
    return Diagnostic(name, document.place(fault.path, fault.at_key), path, fault.message)


def _validate(value: object) -> tuple[Settings | None, dict[str, App], list[Fault]]:
    """Check shapes and values: the settings as a whole, each app by itself, so that one fault hides no other."""
    if value is None:
        return None, {}, [Fault((), 'the file is empty; it needs "apps"')]
    if not isinstance(value, dict):
        return None, {}, [Fault((), f"expected a mapping with apps, found {describe(value)}")]
    faults: list[Fault] = []
    settings = None
    try:
        settings = Settings.model_validate({key: item for key, item in value.items() if key != "apps"})
    except ValidationError as exc:
        faults.extend(faults_of(exc, Config, ()))
    given = value.get("apps")
    if not isinstance(given, dict) or not given:
        found = describe(given) if "apps" in value else "no such key"
        faults.append(Fault(("apps",), f"expected a mapping of names to apps, found {found}"))
        return settings, {}, faults
    apps: dict[str, App] = {}
    for app_name, body in given.items():
        if wrong := check_app_name(app_name):
            faults.append(Fault(("apps", app_name), wrong, at_key=True))
        try:
            apps[app_name] = App.model_validate(body)
        except ValidationError as exc:
            faults.extend(faults_of(exc, App, ("apps", app_name)))
    return settings, apps, faults
