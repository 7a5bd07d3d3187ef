"""Who is there: sign-in with Entra ID (``oidc``), sessions (``sessions``), and the person a decision looks at (``principals``).

Nothing here reads a signal provider or the store: the store imports these shapes, not the other way round.
"""
