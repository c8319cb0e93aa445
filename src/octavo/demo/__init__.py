"""The demo: real flights, replayed onto live leaderboards, and cached pages of airports.

`flights` loads them, `replay` and `pages` are what a user of octavo would write, `view` words
what the displays show, `terminal` and `plain` are the displays.
"""
