"""Real servers without an installation: PostgreSQL and Valkey from their packages, run for one data folder.

The only place that knows where these programs come from. Everything above sees two addresses, `DATABASE_URL` and
`REDIS_URL`, exactly as with servers that somebody else runs.
"""
