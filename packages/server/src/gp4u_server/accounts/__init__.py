"""People: accounts, passwords, sessions, tokens and API keys.

A *session* is a family of refresh tokens: each use of a token gives its one successor, and a token that comes back
after its successor was used ends the whole family. Access tokens live for minutes and name their session, which is
looked up on every request, so a revoked session or a changed role counts at once.

Invariants: one account per address (case does not matter); a live family has at most one unused token; nothing that
opens the door (password, refresh token, API key) is stored in a form that could be used again.
"""
