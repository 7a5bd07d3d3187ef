"""Fuzzing of everything that reads what a taken-over renderer, a false viewer or a false node says: ``make fuzz``."""
