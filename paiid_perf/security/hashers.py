"""A password is the same however a keyboard composed its letters (NIST SP 800-63B-4 §3.1.1.2: NFKC before hashing).

    PASSWORD_HASHERS = ["paiid_perf.security.hashers.NormalisingPBKDF2PasswordHasher"]

In the place of Django's ``PBKDF2PasswordHasher``: both write hashes of the same name, and Django takes the last.
Nothing else is done to it: no letter case, no spaces, no end is cut off (ASVS 6.2.8).
"""

from __future__ import annotations

import unicodedata
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher


def normalised(password: str) -> str:
    """The password in NFKC; doing it again changes nothing."""
    return unicodedata.normalize("NFKC", password)


class NormalisingPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's PBKDF2 over the normalised password; hashes made without it go on being accepted."""

    def encode(self, password: str, *args: Any, **kwargs: Any) -> str:
        """The hash of the normalised password."""
        return super().encode(normalised(password), *args, **kwargs)

    def verify(self, password: str, encoded: str) -> bool:
        """Whether the hash is of this password, normalised or as it was typed."""
        if super().verify(password, encoded):
            return True
        return normalised(password) != password and self._verify_as_typed(password, encoded)

    def _verify_as_typed(self, password: str, encoded: str) -> bool:
        plain = PBKDF2PasswordHasher()
        return plain.verify(password, encoded)
