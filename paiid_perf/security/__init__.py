"""Input inspection, passwords, login limits, bans, events, deployment checks."""
