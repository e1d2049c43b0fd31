"""One file a hazard. Not collected by `make test`: their names say so (see `make rig`)."""
