"""GraphQL as Cloudflare has it, over the tables of analytics: types are made of the columns and metrics."""
