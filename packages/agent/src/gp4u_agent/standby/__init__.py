"""Standing by for jobs of other nodes: their newest checkpoint lies here, sealed, and their start is prepared."""
