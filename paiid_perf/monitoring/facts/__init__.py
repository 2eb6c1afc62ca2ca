"""What monitoring reads: the system, and the roll-ups."""
