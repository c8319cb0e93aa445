"""The `octavo` command; `pip install 'octavo[cli]'` installs what it needs."""
