"""The demo: real flights, replayed onto live leaderboards, cached pages, and gates.

`flights` loads them, `replay`, `pages` and `gates` are what a user of octavo would write, `view`
words what the displays show, `terminal` and `plain` are the displays.
"""
