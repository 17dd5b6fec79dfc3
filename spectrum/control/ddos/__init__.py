"""The supervisor's part of attack detection."""
