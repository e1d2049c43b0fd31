"""The checkpoint format: keys, chunks, packs, manifests, and the checked way back to files. No network.

docs/design/checkpoints.md is the specification; the writer (agent) and the readers (agent, command) share this package.
"""
