"""IP access rules, with Cloudflare's names."""
