"""GP4U for renters: the Python SDK and the gp4u command."""
