"""What this machine is and how it feels: one small detector per fact, none of which may fail the others."""
