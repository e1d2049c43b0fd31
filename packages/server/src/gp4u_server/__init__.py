"""The GP4U platform. See docs/architecture.md for its layers; each domain folder says what it is."""

from importlib.metadata import version

__version__ = version("gp4u-server")
