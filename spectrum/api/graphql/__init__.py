"""Cloudflare's GraphQL over the tables of analytics: types are derived from columns and metrics."""
