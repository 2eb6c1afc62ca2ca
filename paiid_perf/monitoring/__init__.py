"""System, API, database and cache metrics, alerts, and the score."""
