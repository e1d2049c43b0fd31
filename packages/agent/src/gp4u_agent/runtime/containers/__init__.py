"""The `containers` runtime: the job in a container of an engine that speaks the Docker API (Docker or Podman).

`engine` finds the engine and says what it can do, `images` brings the image by digest, `hardening` says how a job's container is
made and checks, from the kernel, that it was made so; `adapter` is the Runtime; `guard` ends the container when its shim dies.
"""
