"""Every key of a cache.

Values, one hash tag each:

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{prefix}:cache:{name}:{generation}:{.key}` | string | a value, or its maker's lease | its own |
| `...:{.key}:l` | string | the lease of who refreshes the value | the lease's |
| `{prefix}:pages:cache:{name}:count:{.url}` | string | how often a web page was asked for | none |

What is about the whole cache, under the hash tag of its name, `{base}` = `{prefix}:cache:{{name}}`:

| key | Redis type | holds | TTL |
|---|---|---|---|
| `{base}:generation` | string | a random nonce, part of the values' keys | none |
| `{base}:tag:{tag}` | string | a random nonce, copied into entries of that tag | outlives them |
| `{base}:changes` | string | a random nonce, another after each invalidation of tags | as above |
| `{base}:calls:{function}` | string | how often it was called | none |
| `{base}:history:{function}` | stream | an entry for each call | none |

With `tag=` all of them share that hash tag instead. A new generation clears the cache: the values
under the old one are out of reach at once, and go with their TTL. A key over 1,024 bytes is cut to
200 and a BLAKE2b digest, behind `{~` instead of `{.`.
"""

from __future__ import annotations

from hashlib import blake2b

from octavo.engine.keys import check_name, key_base, name_part

_LONGEST = 1024
_KEPT = 200


class Layout:
    """The keys of one cache.

    Attributes:
        base: what the keys of its nonces begin with.
        values: what the keys of its values begin with, in any generation.
        generation: the key of the nonce that all values' keys have in them.
        changes: the key of the nonce that changes with every invalidation of tags.
    """

    def __init__(self, prefix: str, name: str, tag: str | None) -> None:
        self.base = key_base(prefix, "cache", name, tag)
        self.generation = f"{self.base}:generation".encode()
        self.changes = f"{self.base}:changes".encode()
        values = f"{prefix}:cache:{name_part(name)}" if tag is None else self.base
        self.values = f"{values}:".encode()

    def tag(self, tag: str) -> bytes:
        """Return the key of a tag's nonce."""
        return f"{self.base}:tag:{check_name('tags', tag)}".encode()

    def calls(self, function: str) -> bytes:
        """Return the key of a function's count of calls."""
        return f"{self.base}:calls:{function}".encode()

    def history(self, function: str) -> bytes:
        """Return the key of a function's history of calls."""
        return f"{self.base}:history:{function}".encode()

    def head(self, generation: bytes) -> bytes:
        """Return what the keys of a generation's values begin with."""
        return b"%b%b:{." % (self.values, generation)


def key_bytes(key: str | bytes, parameter: str = "key") -> bytes:
    """Return the bytes of a user's key, or refuse it by the parameter's name."""
    if not isinstance(key, (str, bytes)):
        raise TypeError(f"{parameter} must be a str or bytes, not {key!r}")
    if not key:
        raise ValueError(f"{parameter} must not be empty")
    try:
        return key.encode() if isinstance(key, str) else key
    except UnicodeEncodeError:
        raise ValueError(f"{parameter} is not valid Unicode text: {key!r}") from None


def value_key(head: bytes, key: str | bytes) -> bytes:
    """Return the key of a value."""
    data = key_bytes(key)
    return b"%b%b}" % (head, data) if len(data) <= _LONGEST else _cut(head, data)


def _cut(head: bytes, key: bytes) -> bytes:
    digest = blake2b(key, digest_size=16).hexdigest().encode()
    return b"%b~%b~%b}" % (head[:-1], key[:_KEPT], digest)


def refresh_key(name: bytes) -> bytes:
    """Return the key of the lease under which a value is refreshed."""
    return name + b":l"
