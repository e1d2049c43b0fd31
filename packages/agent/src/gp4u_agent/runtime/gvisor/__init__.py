"""The `gvisor` runtime: the bundle of `runtime.bundle` under gVisor's runsc, a kernel of its own between the job and this machine's.

`programs` finds runsc and names its build, `guest` reads what gVisor's kernel says of the job's processes (pure), `outside` reads
what this machine's kernel says of gVisor's, `adapter` is the Runtime and dumps the whole job by gVisor's own checkpoint.
"""
