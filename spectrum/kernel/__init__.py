"""How is Linux asked? Socket options, limits, addresses. No policy."""
