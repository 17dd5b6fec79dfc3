"""Load, check, apply, show. The supervisor lives here."""
