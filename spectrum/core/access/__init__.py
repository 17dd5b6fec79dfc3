"""Who gets in: IP access rules, with Cloudflare's names."""
