"""A hasher for tests in which the hash is to be most of an attempt's work."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class ShortPBKDF2(PBKDF2PasswordHasher):
    iterations = 30_000
