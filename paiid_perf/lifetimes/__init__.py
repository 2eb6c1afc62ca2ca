"""How long cached answers and values live: what traffic says of it, and other times than declared, set and verified.

A strategy goes by its subject here, the name that its counters have: ``portfolios``, or ``response:user``.
"""
