"""What a reader of checkpoints can run into."""


class Damaged(Exception):
    """Stored bytes are not what was written: changed, cut, swapped, missing, or of another job or version.

    `where` names the object and place for the report; the message never holds content.
    """

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where = where
        self.what = what


class Unrepresentable(ValueError):
    """A folder cannot be written as a manifest: a path or a count is over the format's limits."""
