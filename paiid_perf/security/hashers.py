"""A password is the same however a keyboard composed its letters (NIST SP 800-63B-4 §3.1.1.2: NFKC before hashing).

    PASSWORD_HASHERS = ["paiid_perf.security.hashers.NormalisingPBKDF2PasswordHasher"]

In the place of Django's ``PBKDF2PasswordHasher``: both write hashes of the same name, and Django takes the last.
Nothing else is done to it: no letter case, no spaces, no end is cut off (ASVS 6.2.8).
"""

from __future__ import annotations

import unicodedata
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.utils.crypto import constant_time_compare


def normalised(password: str) -> str:
    """The password in NFKC; doing it again changes nothing."""
    return unicodedata.normalize("NFKC", password)


class NormalisingPBKDF2PasswordHasher(PBKDF2PasswordHasher):
    """Django's PBKDF2 over the normalised password; hashes made without it go on being accepted.

    A password that normalising changes costs two hashes wherever it is hashed: Django hashes one in vain for a name
    that nobody has, and how long that takes must not tell.
    """

    def encode(self, password: str, *args: Any, **kwargs: Any) -> str:
        """The hash of the normalised password."""
        return self._encode_all(password, *args, **kwargs)[0]

    def verify(self, password: str, encoded: str) -> bool:
        """Whether the hash is of this password, normalised or as it was typed."""
        decoded = self.decode(encoded)
        made = self._encode_all(password, decoded["salt"], decoded["iterations"])
        return any(constant_time_compare(encoded, one) for one in made)

    def _encode_all(self, password: str, *args: Any, **kwargs: Any) -> list[str]:
        readings = dict.fromkeys((normalised(password), password))
        return [
            super(NormalisingPBKDF2PasswordHasher, self).encode(text, *args, **kwargs) for text in readings
        ]
