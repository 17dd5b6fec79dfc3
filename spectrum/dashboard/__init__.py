"""The dashboard's files, as browsers get them; `spectrum/api/dashboard.py` serves them. Nothing builds them."""
