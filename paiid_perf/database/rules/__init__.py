"""Pure rules of the database domain: facts in, decisions with their reasons out."""
