"""Who is calling, and what they may do: authenticators, identities, limits of requests."""
