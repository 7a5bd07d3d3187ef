"""Sign-in with Microsoft Entra ID: OpenID Connect authorization code flow with PKCE.

``flow`` and ``verify`` are pure (they are given time, secrets and keys); ``client`` does the talking.
"""
