"""What every domain stands on: events, outbox, idempotency, claims, web plumbing."""
