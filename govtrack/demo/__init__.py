"""The demo world: a provider with a real small model ("Local Labs"), and what is played on it."""
