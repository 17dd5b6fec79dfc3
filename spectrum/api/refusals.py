"""Lines of the audit log for refused attempts to change something: who tried what, and from which address.

Their number is limited, because the log keeps a fixed number of lines: an attacker that guesses tokens cannot push
other lines out. The daemon's log has every request.
"""

import logging
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qs

from spectrum.api.caller import Caller
from spectrum.api.catalogue import Catalogue
from spectrum.api.envelope import ApiError
from spectrum.api.failures import address_key
from spectrum.core.tenants.tokens import RESOURCES
from spectrum.store.audit import AuditEntry, Author
from spectrum.store.objects import StoredObject
from spectrum.store.store import Store
from spectrum.tasks import Tasks, in_thread

log = logging.getLogger(__name__)

REFUSED = frozenset({400, 401, 403})
ACTIONS = {"POST": "create", "PUT": "update", "PATCH": "update", "DELETE": "delete"}
PER_S = 3600.0
# Lines within an hour: per token or address, and of all of them. The lines of a year fit into the log.
OF_ONE_KNOWN, OF_ALL_KNOWN = 30, 60
OF_ONE_UNKNOWN, OF_ALL_UNKNOWN = 5, 20
MAX_PATH = 200
_BASE = re.compile(r"/client/v4/(?:(accounts|zones)/([0-9a-f]{32})/)?")
_ID = re.compile("[0-9a-f]{32}")
# Requests with a body that only ask: whether a change would be valid, and questions to analytics.
_QUESTION = re.compile(r"/(?:preview|analytics/quer(?:y|ies)|graphql)\Z")
_TRUE = frozenset({"true", "1", "on", "yes", "t", "y"})
# Sections by their names in paths.
_RESOURCE_OF = dict.fromkeys(("custom_certificates", "certificate_packs"), "certificates")


class RefusedAttempts:
    """Records refused attempts.

    Args:
        catalogue: Has the accounts and zones of paths.
        store: Keeps the log.
        clock: Returns the time, in seconds since 1970.
    """

    def __init__(self, catalogue: Catalogue, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._catalogue = catalogue
        self._store = store
        self._clock = clock
        self._tasks = Tasks()
        self._began = 0.0
        # Lines within this hour, per caller; "known" and "unknown" for all of them.
        self._counts: dict[str, int] = {}
        self._left_out = 0

    def note(
        self,
        caller: Caller | ApiError,
        method: str,
        path: str,
        query: str,
        status: int,
        request_id: str,
        client: str,
    ) -> None:
        """Record a request, if it is a change that was refused, and the limit is not reached.

        Args:
            caller: The caller, or the error by which authentication failed.
            method: The HTTP method.
            path: The path of the request.
            query: Its query string.
            status: The HTTP status of the answer.
            request_id: The request's id in the headers of the answer.
            client: The client's address.
        """
        if status not in REFUSED or method not in ACTIONS:
            return
        # A question that is not valid, as of a form that is being filled in, is no attempt; one without rights may be.
        if status == 400 and only_asks(path, query):
            return
        if not self._has_room(caller, client):
            return
        account, zone = self._owners(path, caller)
        section, object_id = subject_of(path)
        author = Author("unknown", "", "", client) if isinstance(caller, ApiError) else caller.author
        entry = AuditEntry(
            author,
            ACTIONS[method],
            section,
            object_id,
            "",
            account=account,
            zone=zone,
            is_done=False,
            method=method,
            path=path[:MAX_PATH],
            status=status,
            request_id=request_id,
        )
        self._tasks.start(in_thread(self._store.write_audit, [entry], self._clock()), "write a refused attempt")

    async def stop(self) -> None:
        """Wait for the lines that are being written."""
        await self._tasks.stop()

    def _has_room(self, caller: Caller | ApiError, client: str) -> bool:
        now = self._clock()
        if not 0 <= now - self._began < PER_S:  # the hour ended, or the clock was set back
            if self._left_out:
                log.warning("%d refused attempts are not in the audit log: too many in an hour", self._left_out)
            self._began, self._counts, self._left_out = now, {}, 0
        if isinstance(caller, ApiError):
            limits = {"unknown": OF_ALL_UNKNOWN, f"address {address_key(client)}": OF_ONE_UNKNOWN}
        else:
            limits = {"known": OF_ALL_KNOWN, f"{caller.author.kind} {caller.author.id}": OF_ONE_KNOWN}
        if any(self._counts.get(key, 0) >= most for key, most in limits.items()):
            self._left_out += 1
            return False
        for key in limits:
            self._counts[key] = self._counts.get(key, 0) + 1
        return True

    def _owners(self, path: str, caller: Caller | ApiError) -> tuple[str, str]:
        """Return the ids of the account and the zone of a path, if its caller may know them.

        Attempts in other accounts are recorded without an account: only callers who may read all logs see them.
        """
        match = _BASE.match(path)
        if match is None or match[1] is None or isinstance(caller, ApiError):
            return "", ""
        account, zone = self._place(match[1], match[2])
        if account is None or not any(caller.may(resource, False, account.name) for resource in RESOURCES):
            return "", ""
        return account.id, zone.id if zone else ""

    def _place(self, kind: str, identity: str) -> tuple[StoredObject | None, StoredObject | None]:
        found = self._catalogue.get(kind, identity)
        if found is None or kind == "accounts":
            return found, None
        return self._catalogue.named("accounts", self._catalogue.owners(found)[0]), found


def only_asks(path: str, query: str) -> bool:
    """Return whether a request with a body would change nothing, even if it were valid."""
    return bool(_QUESTION.search(path)) or parse_qs(query).get("dry_run", [""])[-1].lower() in _TRUE


def subject_of(path: str) -> tuple[str, str]:
    """Return the section and the id of the object of a path; empty where it has none."""
    match = _BASE.match(path)
    words = path[match.end() :].split("/") if match else []
    sections = [word for word in (_RESOURCE_OF.get(word, word) for word in words) if word in RESOURCES]
    return sections[-1] if sections else "", next((word for word in words if _ID.fullmatch(word)), "")
