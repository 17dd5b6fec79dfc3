"""Authorization: the account and zone of a request's path, and whether its caller has permission there."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import Depends, Request

from spectrum.api.analytics.asking import Asking
from spectrum.api.analytics.service import AnalyticsService
from spectrum.api.analytics.weekly import WeeklyReports
from spectrum.api.caller import ANY, Caller
from spectrum.api.catalogue import Catalogue, Cause
from spectrum.api.envelope import ApiError, BodyFault
from spectrum.api.live import LiveFeed
from spectrum.api.ordering import Ordering
from spectrum.api.supervisor import DaemonLink
from spectrum.api.token_book import TokenBook
from spectrum.core.analytics.question import Question, ResultTable
from spectrum.core.tcp_protection.objects import TCP_SECTIONS
from spectrum.core.tenants.tokens import RESOURCES
from spectrum.store.objects import ObjectChange, StoredObject
from spectrum.store.store import Store

UNAUTHORIZED, NO_SUCH = 9109, 7003
BAD_MATCH = 6003


@dataclass(frozen=True, slots=True)
class Context:
    """The services that routes use.

    Attributes:
        catalogue: All objects.
        tokens: All tokens.
        store: Keeps objects and tokens; its calls block.
        supervisor: The link to the supervisor.
        analytics: The service that has the store of analytics.
        live: The stream of live figures.
        asking: Answers questions from the store of analytics.
        weekly: Writes scheduled reports.
        sealing: The key that private keys are sealed with.
        ordering: Certificate authorities and limits of orders.
    """

    catalogue: Catalogue
    tokens: TokenBook
    store: Store
    supervisor: DaemonLink
    analytics: AnalyticsService
    live: LiveFeed
    asking: Asking
    weekly: WeeklyReports
    sealing: "Sealing" = field(default_factory=lambda: Sealing())
    ordering: Ordering = field(default_factory=Ordering)


@dataclass(slots=True)
class Sealing:
    """The key that private keys are sealed with.

    Attributes:
        public: The public half of the daemon's sealing key; None where it has none.
    """

    public: bytes | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """An authorized request.

    Attributes:
        request: The request.
        caller: Its sender.
        context: The services.
        account: The account of the path; None where the path names none.
        zone: The zone of the path; None where the path names none.
    """

    request: Request
    caller: Caller
    context: Context
    account: StoredObject | None = None
    zone: StoredObject | None = None

    @property
    def catalogue(self) -> Catalogue:
        """All objects."""
        return self.context.catalogue

    @property
    def owner(self) -> dict[str, str]:
        """The keys of a new object that name its zone or account."""
        assert self.account is not None, "its path names one, or the zone of one"
        return self.catalogue.owner_keys(self.account, self.zone)

    @property
    def body(self) -> Any:
        """The decoded body; None without one."""
        return self.request.state.body

    def objects(self, section: str) -> list[StoredObject]:
        """Return the objects of a section that belong to the zone, without a zone to the account."""
        if self.zone is not None:
            return self.catalogue.in_zone(section, self.zone.name)
        assert self.account is not None, "the path names one"
        return self.catalogue.in_account(section, self.account.name)

    def object(self, section: str, object_id: str) -> StoredObject | None:
        """Return an object of the zone, without a zone of the account; None if it does not belong there."""
        found = self.catalogue.get(section, object_id)
        if found is None:
            return None
        account, zone = self.catalogue.owners(found)
        if self.zone is not None:
            return found if zone == self.zone.name else None
        return found if self.account is not None and account == self.account.name else None

    async def change(
        self, changes: Sequence[ObjectChange], expected: Mapping[str, int] | None = None
    ) -> list[StoredObject]:
        """Apply changes, as `Catalogue.change`; changes of existing objects respect If-Match."""
        revisions = dict(expected or {})
        if (match := self.request.headers.get("if-match", "*")) != "*":
            if not match.strip('"').isascii() or not match.strip('"').isdecimal():
                raise BodyFault(BAD_MATCH, "If-Match: not a revision from an ETag of this API")
            for change in changes:
                if self.catalogue.get(change.section, change.id) is not None:
                    revisions.setdefault(change.id, int(match.strip('"')))
        return await self.catalogue.change(changes, self.cause, revisions)

    async def ask(self, question: Question, left: Callable[[], Awaitable[None]] | None = None) -> ResultTable:
        """Return the answer of the store of analytics, as `Asking.ask`; cancelled when the client disconnects.

        Args:
            question: The question.
            left: Returns when the client disconnects, for a response that awaits this by itself.
        """
        return await self.context.asking.ask(self.caller, question, left or self._left)

    async def _left(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
            pass

    @property
    def cause(self) -> Cause:
        """The origin of a change by this request, for the audit log."""
        request = self.request
        state = request.state
        return Cause(self.caller.author, request.method, request.url.path, state.request_id, state.steps)


def caller_of(request: Request) -> Caller:
    """Return the authenticated caller of a request.

    Raises:
        ApiError: If the request is not authenticated, or its token is not valid now.
    """
    caller: Caller | ApiError = request.state.caller
    if isinstance(caller, ApiError):
        raise caller
    if caller.fault is not None:
        raise caller.fault
    return caller


async def _anywhere(request: Request) -> Call:
    return Call(request, caller_of(request), request.app.state.context)


# For a route that checks permissions itself. These are coroutines, because FastAPI calls functions in threads.
Anywhere: Any = Depends(_anywhere)


def InAccount(resource: str, edit: bool = False) -> Any:
    """Return a dependency: a `Call` in the account of the path (`account_id`).

    Args:
        resource: The resource, such as `pools`.
        edit: Whether the permission to edit is needed.
    """

    async def enter(request: Request, account_id: str) -> Call:
        return _enter(request, resource, edit, account_id, None)

    return Depends(enter)


def InZone(resource: str, edit: bool = False) -> Any:
    """Return a dependency: a `Call` in the zone of the path (`zone_id`)."""

    async def enter(request: Request, zone_id: str) -> Call:
        return _enter(request, resource, edit, None, zone_id)

    return Depends(enter)


def InEither(resource: str, edit: bool = False) -> Any:
    """Return a dependency: a `Call` in the account or the zone of the path, whichever the path has."""

    async def enter(request: Request) -> Call:
        path = request.path_params
        return _enter(request, resource, edit, path.get("account_id"), path.get("zone_id"))

    return Depends(enter)


def InSection(edit: bool = False) -> Any:
    """Return a dependency: a `Call` as `InEither`, with the section of the path as the resource."""

    async def enter(request: Request) -> Call:
        path = request.path_params
        resource = "tcp_protection" if path["section"] in TCP_SECTIONS else path["section"]
        call = _enter(request, resource, edit, path.get("account_id"), path.get("zone_id"))
        if resource not in RESOURCES:  # unknown names are reported only to callers with a permission there
            raise no_such(request)
        return call

    return Depends(enter)


def _enter(request: Request, resource: str, edit: bool, account_id: str | None, zone_id: str | None) -> Call:
    caller = caller_of(request)
    context: Context = request.app.state.context
    catalogue = context.catalogue
    zone = None
    if zone_id is not None:
        zone = catalogue.get("zones", zone_id)
        account = catalogue.named("accounts", catalogue.owners(zone)[0]) if zone else None
    else:
        account = catalogue.get("accounts", account_id or "")
    if account is None:
        raise no_such(request) if caller.may(resource, edit, ANY) else unauthorized()
    if not caller.may(resource, edit, account.name, zone.name if zone else ""):
        raise unauthorized()
    return Call(request, caller, context, account, zone)


def unauthorized() -> ApiError:
    """Return the error for a missing permission. It is the same for missing objects, so that names cannot be probed."""
    return ApiError(403, UNAUTHORIZED, "Unauthorized to access requested resource")


def no_such(request: Request) -> ApiError:
    """Return the error for a path whose account, zone or object does not exist."""
    message = f"Could not route to {request.url.path}, perhaps your object identifier is invalid?"
    return ApiError(404, NO_SUCH, message)
