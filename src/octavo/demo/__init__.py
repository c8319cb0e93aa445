"""The demo: real flights, replayed onto live leaderboards, cached pages, gates, and an API.

`flights` loads them, `replay`, `pages`, `gates` and `api` are what a user of octavo would write,
`week` has them together, `view` words what the displays show, `terminal` and `plain` are the
displays.
"""
