"""What the database domain reads. Nothing here writes."""
