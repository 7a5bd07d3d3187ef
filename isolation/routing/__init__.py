"""Where a request goes. Pure: Target parsing, the route table, and ``decide()``, the commented refusal ladder."""
