"""Load, check, apply and show configurations. The supervisor lives here."""
