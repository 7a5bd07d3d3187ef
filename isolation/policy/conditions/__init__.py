"""The selectors of the policy language, one per file: a frozen condition, how it is read, and how it is documented.

``isolation.policy.registry`` lists them.
"""
