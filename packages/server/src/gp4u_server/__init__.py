"""The GP4U platform. See docs/architecture.md for its layers; each domain folder says what it is."""
