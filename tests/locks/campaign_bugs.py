"""Bugs to be planted in a copy of the locks, each of which a test of ours has to catch.

    python -m tests.locks.campaign_bugs [words of names]

plants them one after another and prints how long each took to be caught.
"""

from __future__ import annotations

import sys

from tests.planting import Bug, Edit, report

BUGS = (
    Bug(
        "a release frees the lock whoever holds it",
        ("locks/test_faults", "stopped_is_told and thread"),
        (
            Edit(
                "locks/release.lua",
                "local held = holds(facts, now)\n",
                "local held = holds(facts, now)\n"
                "if not facts then redis.call('UNLINK', leases) end\n",
            ),
        ),
    ),
    Bug(
        "a renewal brings back what has ended",
        ("locks/test_faults", "was_broken"),
        (
            Edit(
                "locks/renew.lua",
                "if not stands(KEYS[1], owner, facts, now) then\n  return 0\nend\n",
                "facts = facts or { 1, 0, 0, 0, 0, now, '', '', HOLDS, 0 }\n",
            ),
        ),
    ),
    Bug(
        "fences go by the count alone",
        ("locks/test_failover", "a_failover_has_lost"),
        (Edit("locks/facts.lua", "math.max(last + 1, now), now", "last + 1, now"),),
    ),
    Bug(
        "fences go by the clock alone",
        ("locks/test_failover", "set_back"),
        (Edit("locks/facts.lua", "math.max(last + 1, now), now", "now, now"),),
    ),
    Bug(
        "whoever asks again for what it holds finds it busy",
        ("locks/test_faults", "replies_that_are_lost"),
        (
            Edit("locks/acquire.lua", "if stands(leases, owner, mine, now) then", "if false then"),
            Edit("locks/acquire.lua", "if mine and not waited then", "if false then"),
        ),
    ),
    Bug(
        "a wake-up in twenty is lost, and nobody polls",
        ("locks/test_races", "eight_processes and slice and fair"),
        (
            Edit(
                "locks/places.lua",
                "if facts[ADDRESS] ~= '' then\n      redis.pcall",
                "if facts[ADDRESS] ~= '' and now % 20 > 0 then\n      redis.pcall",
            ),
            Edit(
                "locks/acquiring.py",
                "return min(self._free_in + _AFTER + self._ahead * _STAGGER, poll)",
                "return poll * 1000",
            ),
        ),
    ),
    Bug(
        "nobody asks again when its link has ended",
        ("locks/test_faults", "away and killed"),
        (
            Edit(
                "engine/tracking.py",
                "    for signal in signals:\n                signal.set()\n"
                "        if link.channel is not None:\n            self.mail.look_up()\n",
                "    for signal in signals:\n                signal.set()\n",
            ),
            Edit(
                "engine/tracking.py",
                "if link.channel is not None:\n            self.mail.look_up()\n\n    def ended",
                "pass\n\n    def ended",
            ),
        ),
    ),
    Bug(
        "a cancelled acquire gives nothing up",
        ("locks/test_faults", "cancelled_at_random"),
        (
            Edit(
                "locks/acquiring.py",
                "        except BaseException:\n            await self.give_up()\n"
                "            raise\n        return grant\n",
                "        return grant\n",
            ),
        ),
    ),
    Bug(
        "what has ended is kept for five seconds more",
        ("locks/test_faults", "a_permit_of_a_holder"),
        (Edit("locks/places.lua", "leases, '-inf', now)", "leases, '-inf', now - 5e6)"),),
    ),
    Bug(
        "what has not quite ended is given away",
        ("locks/test_campaign", "one_server"),
        (
            Edit("locks/places.lua", "leases, '-inf', now)", "leases, '-inf', now + 5e5)"),
            Edit(
                "locks/places.lua",
                "if first[1] and tonumber(first[2]) <= now then",
                "if first[1] and tonumber(first[2]) <= now + 5e5 then",
            ),
        ),
    ),
    Bug(
        "a release gives back a permit too many",
        ("locks/test_faults", "workers_that_die"),
        (
            Edit(
                "locks/places.lua",
                "weigh(facts and 1 - facts[WEIGHT] or 0)",
                "weigh(facts and 0 - facts[WEIGHT] or 0)",
            ),
        ),
    ),
    Bug(
        "whoever takes several permits is counted for one",
        ("locks/test_faults", "workers_that_die"),
        (Edit("locks/facts.lua", "if facts[WEIGHT] > 1 then", "if false then"),),
    ),
    Bug(
        "who renews renews for all",
        ("locks/test_faults", "a_permit_of_a_holder"),
        (
            Edit(
                "locks/renew.lua",
                "begin(KEYS[1], KEYS[2], nil, now, owner, facts)",
                "begin(KEYS[1], KEYS[2], nil, now, owner, facts)\n"
                "for _, other in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do\n"
                "  redis.call('ZADD', KEYS[1], facts[ENDS], other)\n"
                "end",
            ),
        ),
    ),
    Bug(
        "min_hold is forgotten",
        ("locks/test_faults", "kept_for_a_while and released"),
        (Edit("locks/release.lua", "local early = left > 0", "local early = false"),),
    ),
    Bug(
        "lock_delay is forgotten",
        ("locks/test_faults", "kept_for_a_while and dropped"),
        (
            Edit(
                "locks/facts.lua",
                "(facts[STATE] == HOLDS and facts[DELAY] or 0)",
                "0",
            ),
        ),
    ),
    Bug(
        "a guarded batch does not heed its guard",
        ("locks/test_races", "under_a_guard"),
        (Edit("engine/guard.py", "  if replies[1] ~= 1 then break end\n", ""),),
    ),
    Bug(
        "a guard takes every lease for good",
        ("locks/test_races", "under_a_guard"),
        (
            Edit(
                "locks/held.lua",
                "-- @include facts.lua\n",
                "-- @include facts.lua\nif true then return 1 end\n",
            ),
        ),
    ),
    Bug(
        "a lease is believed in from the reply on",
        ("locks/test_faults", "believes_longer"),
        (Edit("locks/clock.py", "return asked + lasts - (", "return now() + lasts - ("),),
    ),
    Bug(
        "a loss is told two seconds late",
        ("locks/test_faults", "that_is_cut_off"),
        (Edit("locks/renewal.py", "if now >= grant.until:", "if now >= grant.until + 2:"),),
    ),
    Bug(
        "a body is not cancelled when its lease is lost",
        ("locks/test_faults", "stopped_is_told and task"),
        (Edit("locks/lease.py", "        self._grant.on_loss.append(body.cancel)\n", ""),),
    ),
    Bug(
        "what is handed over waits for ever for its owner",
        ("locks/test_faults", "was_handed_the_lock"),
        (
            Edit(
                "locks/facts.lua",
                "facts[STATE] == HANDED and math.min(facts[TTL], CLAIM) or",
                "facts[STATE] == HANDED and 3600e6 or",
            ),
        ),
    ),
    Bug(
        "a letter is believed however late it is",
        ("locks/test_faults", "was_handed_the_lock"),
        (
            Edit(
                "locks/acquiring.py",
                "grant = self._grant(fence, self._asked, lasts)",
                "grant = self._grant(fence, clock.now(), lasts)",
            ),
        ),
    ),
    Bug(
        "the last in the queue is the first",
        ("locks/test_faults", "fifty and killed"),
        (
            Edit(
                "locks/places.lua",
                "local owner = redis.call('ZRANGE', queue, 0, 0)[1]",
                "local owner = redis.call('ZRANGE', queue, -1, -1)[1]",
            ),
        ),
    ),
    Bug(
        "the dead are believed to hear",
        ("locks/test_faults", "fifty and killed"),
        (Edit("locks/places.lua", "return count.err ~= nil or count[2] > 0", "return true"),),
    ),
    Bug(
        "who gave up before being heard of is granted it all the same",
        ("locks/test_faults", "after_it_was_given_up"),
        (Edit("locks/acquire.lua", "if gone[1] == owner then", "if false then"),),
    ),
    Bug(
        "beside a writer that made itself a reader there is room for a writer",
        ("locks/test_faults", "made_itself_a_reader"),
        (
            Edit(
                "locks/downgrade.lua",
                "places.weigh(weight - facts[WEIGHT])",
                "places.weigh(weight - facts[WEIGHT] - 1)",
            ),
        ),
    ),
    Bug(
        "a grant that no replica has confirmed is good",
        ("locks/test_failover", "no_replica_can_confirm"),
        (
            Edit(
                "locks/acquiring.py",
                "if reply[0] == 1 and replicas < sync:",
                "if reply[0] == 1 and replicas < 0:",
            ),
        ),
    ),
)


if __name__ == "__main__":
    report([bug for bug in BUGS if all(word in bug.name for word in sys.argv[1:])])
