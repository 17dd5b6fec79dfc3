"""The journal of a configuration."""

from spectrum.control.paths import journal_folder
from spectrum.core.analytics.section import DEFAULT_JOURNAL_BYTES
from spectrum.core.configuration.config import Config
from spectrum.core.records.objects import JournalSection


def journal_of(config: Config) -> JournalSection | None:
    """Return the settings of the journal; analytics has a default one if the file names none. None if nothing needs
    one.
    """
    if config.records.journal is not None or config.analytics is None:
        return config.records.journal
    return JournalSection(path=str(journal_folder(config)), max_bytes=DEFAULT_JOURNAL_BYTES)
