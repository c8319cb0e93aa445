"""The demo: real flights, replayed onto live leaderboards.

`flights` loads them, `replay` is what a user of octavo would write, `view` words what the
displays show, `terminal` and `plain` are the displays.
"""
