"""How commands travel. Knows no job."""
