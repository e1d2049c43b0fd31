"""Adapters: the outside world behind the ports of the domains. Only `bootstrap` imports them."""
