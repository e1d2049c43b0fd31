"""The `bundle` runtime: the job in an OCI bundle under runc, in a user namespace, without any container engine.

`programs` finds runc and CRIU and says what they can do, `spec` says how a bundle is made (pure), `keeper` is the process that runs
them and ends the job when its shim dies, `record` reads back from the kernel what a job is confined to, `adapter` is the Runtime,
`dumping` takes the whole job down to files and up again, `probe` and `probe_transparent` prove both on this machine.
"""
