"""What both sides of GP4U share: wire messages, the job specification, the checkpoint format."""
