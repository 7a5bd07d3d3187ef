"""What is known about a person beyond their name: risk, groups, user type; where it came from and how old it is.

``model`` (shapes), ``merge`` (which source counts) and ``freshness`` (when a value is too old) are pure. ``providers`` and ``sync`` do I/O
and run in the sync process only. Unknown is never equal to "none" anywhere here.
"""
