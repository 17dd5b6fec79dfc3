"""What sessions leave: the session log, and the totals of what workers count."""
