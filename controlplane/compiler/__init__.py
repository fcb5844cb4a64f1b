"""Decides what to rebuild after a change; the only caller of ``translate``.

In reading order:

* ``inventory``: the targets that a proxy class holds, in parts that classes share.
* ``parts``: the parts that are held, and what each of their targets built to.
* ``classes``: the classes with their snapshots, and the sessions of their proxies.
* ``compiler``: the driver. It alone does long work, in steps, with breaks for the event loop between them.
* ``holdoff`` gathers bursts.

``parts`` and ``classes`` are synchronous and whole after each step, so whatever comes between two steps (a session
closes, a class retires, a build is given up) is done at once; nothing goes through a live collection across a break.

What may go wrong: a failing translator costs its own resource only, the last good one stays. Any other error of ours is
logged, and everything is made from scratch; until then proxies keep what they have.
"""
