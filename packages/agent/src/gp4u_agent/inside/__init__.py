"""What lies read-only under /gp4u inside every job: the command `gp4u-checkpoint` and the module `gp4u_job`.

Nothing here imports anything of GP4U: jobs bring their own Python, or none.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
COMMAND = FOLDER / "gp4u-checkpoint"
HELPER = FOLDER / "gp4u_job.py"
