"""The console, inside the Django admin."""
