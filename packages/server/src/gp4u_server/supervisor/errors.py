"""Why `gp4u up` refuses or gives up. Each message is one paragraph that says what to do; `exit_code` is documented.

1 it could not start · 2 the options do not go together · 5 taken: the port, or the folder by another supervisor ·
130 interrupted
"""


class UpFailed(Exception):
    """Something needed did not start."""

    exit_code = 1


class Interrupted(UpFailed):
    """Somebody asked for the end before everything ran: Ctrl-C, or `gp4u down`."""

    exit_code = 130


class FolderUnusable(UpFailed):
    """The data folder is damaged, too full, of another version, or not ours."""


class OptionsConflict(UpFailed):
    """These options may not be used together."""

    exit_code = 2


class AlreadyRunning(UpFailed):
    """Another supervisor holds this data folder."""

    exit_code = 5


class PortTaken(UpFailed):
    """Another program listens on the public port."""

    exit_code = 5
