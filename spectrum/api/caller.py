"""The caller of a request, and its permissions."""

from dataclasses import dataclass

from spectrum.api.envelope import ApiError
from spectrum.core.tenants.tokens import Token
from spectrum.store.audit import Author
from spectrum.store.tokens import StoredToken

# No account or zone has this name; a permission for it covers all accounts and zones, also later ones.
ANY = "\0"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request.

    Attributes:
        author: The name in the audit log.
        token: The token; None for root and the daemon's user on this machine, who have all permissions.
        limits: The policies of the token; None without limits.
        status: The token's status: active, disabled, expired or not_yet.
        fault: Why the token is not valid now; None if it is.
    """

    author: Author
    token: StoredToken | None = None
    limits: Token | None = None
    status: str = "active"
    fault: ApiError | None = None

    @property
    def is_local(self) -> bool:
        """Whether the caller is root, or the daemon's user, on this machine."""
        return self.token is None

    def may(self, resource: str, edit: bool, account: str = ANY, zone: str = "") -> bool:
        """Return whether the caller has a permission.

        Args:
            resource: The resource, such as `apps`.
            edit: Whether the permission to edit is needed.
            account: The account's name; by default all accounts, also later ones.
            zone: The zone's name; empty for objects of the account itself.
        """
        if self.limits is None:
            return True
        return self.limits.allows(f"{resource}:{'edit' if edit else 'read'}", account, zone)

    def __str__(self) -> str:
        return described(self.author)


def described(author: Author) -> str:
    """Return an author for log messages, in one line of ASCII, whatever characters a token's name has."""
    what = "token" if author.kind == "token" else "user"
    return f"{what} {ascii(author.name)[1:-1]} ({author.id})"
