"""When may a record go, and why: the law as data, applied to dates; must not read a clock, a database or a setting.

``facts`` -> ``engine.assess`` with a schedule from ``loader`` -> ``assessment``, told to people by ``explain``.
"""
