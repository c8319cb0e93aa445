"""The demo: real flights, replayed through octavo's jobs."""
