"""The shipped test kit: a clock to move by hand, and a tenant that speaks Entra's and Graph's wire formats.

Nothing in the product imports this package (checked by import-linter); ``isolation demo`` starts the tenant as a process.
"""
