"""Loading of a file in which only some apps changed since the last load: the others are not parsed again. On any fault
or doubt the file is loaded as a whole, which reports every fault with its place.
"""

from collections.abc import Iterable

from pydantic import ValidationError

from spectrum.control.configuration.blocks import Blocks, may_have_anchors, may_have_references, name_of, split
from spectrum.control.configuration.yaml_marks import Document
from spectrum.core.configuration.config import App, Config
from spectrum.core.configuration.fields import check_name
from spectrum.core.configuration.fitting import Fitting
from spectrum.core.configuration.presets import expand
from spectrum.wire.address import IPAddress


class LoadedText:
    """The result of a text without faults.

    Args:
        blocks: The text.
        config: Its configuration.
        local: The addresses of this machine.
    """

    def __init__(self, blocks: Blocks, config: Config, local: Iterable[IPAddress]) -> None:
        self._rest = blocks.rest
        self._apps = {block: (name, config.apps[name]) for block in blocks.apps for name in [name_of(block)]}
        self._fitting = Fitting(config, local)

    @classmethod
    def split(cls, text: str, document: Document, config: Config, local: Iterable[IPAddress]) -> "LoadedText | None":
        """Return the result of a text; None if it is not certain which part of it is which app."""
        blocks = split(text)
        is_certain = not may_have_anchors(text) and not may_have_references(text)
        if blocks is None or not is_certain or any(map(_is_told_elsewhere, config.apps.values())):
            return None
        # Each block must begin where YAML has the name of an app: then none begins within a quoted text, for example.
        if list(zip(map(name_of, blocks.apps), blocks.lines, strict=True)) != document.lines("apps"):
            return None
        return cls(blocks, config, local)

    def load(self, text: str, local: Iterable[IPAddress]) -> Config | None:
        """Return the configuration in another text; None if it must be loaded as a whole."""
        blocks = split(text)
        if blocks is None or blocks.rest != self._rest or self._fitting.local != frozenset(local):
            return None
        known, loaded = self._apps, dict[str, tuple[str, App]]()
        apps: dict[str, App] = {}
        for block in blocks.apps:
            found = known.get(block) or _load(block)
            if found is None or found[0] in apps:
                return None
            loaded[block] = found
            apps[found[0]] = found[1]
        before = self._fitting.config
        changed = [name for name, app in apps.items() if before.apps.get(name) is not app]
        changed += [name for name in before.apps if name not in apps]
        config = before.model_copy(update={"apps": apps})
        if self._fitting.faults(config, {"apps": changed}):
            return None
        self._apps = loaded
        return config


def _is_told_elsewhere(app: App) -> bool:
    """Return whether an app affects the rest: a preset also gives the pools of a load balancer their monitor."""
    return app.preset is not None and app.load_balancer is not None


def _load(block: str) -> tuple[str, App] | None:
    """Return the app in a block, with its name; None if it is malformed, or depends on the rest."""
    if may_have_anchors(block) or may_have_references(block):
        return None
    document = Document(block)
    if document.faults or not isinstance(document.value, dict) or len(document.value) != 1:
        return None
    value, faults = expand({"apps": document.value})
    ((name, body),) = value["apps"].items()
    if faults or name != name_of(block) or check_name(name, "an app") is not None:
        return None
    # A preset also gives the pools of a load balancer their monitor.
    if not isinstance(body, dict) or ("preset" in body and "load_balancer" in body):
        return None
    try:
        return name, App.model_validate(body)
    except ValidationError:
        return None
