"""What admins look at: the market at a glance, its people, its nodes, its failovers and its books.

A reader above every domain: it changes nothing but the note of the books' last verification, and owns no table. All
of its endpoints need the role admin, and with an API key the scope admin as well.
"""
