"""The fault rig: real processes on three hosts of one machine, with links that break on command. See docs/design/rig.md."""
