"""Who sends a request, and what they may."""

from dataclasses import dataclass

from spectrum.api.envelope import ApiError
from spectrum.core.tenants.tokens import Token
from spectrum.store.audit import Author
from spectrum.store.tokens import StoredToken

# No account or zone has this name: what may be done there may be done in all that are made later.
ANY = "\0"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        author: As the audit log has it.
        token: What they authenticated with; None for root and the daemon's user on this machine, who may everything.
        limits: What the token may; None where everything is allowed.
        status: Of the token: active, disabled, expired or not_yet.
        fault: Why the token is good for nothing now; None where it is.
    """

    author: Author
    token: StoredToken | None = None
    limits: Token | None = None
    status: str = "active"
    fault: ApiError | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is root, or the daemon's user, on this machine."""
        return self.token is None

    def may(self, resource: str, edit: bool, account: str = ANY, zone: str = "") -> bool:
        """Return whether something is allowed.

        Args:
            resource: Such as `apps`.
            edit: Whether it changes something.
            account: The account's name; if none is given: in all, also later ones.
            zone: The zone's; empty for what belongs to the account itself.
        """
        if self.limits is None:
            return True
        return self.limits.allows(f"{resource}:{'edit' if edit else 'read'}", account, zone)

    def __str__(self) -> str:
        return described(self.author)


def described(author: Author) -> str:
    """Return what the log calls somebody: in one line, whatever a token's name is."""
    what = "token" if author.kind == "token" else "user"
    return f"{what} {ascii(author.name)[1:-1]} ({author.id})"
