"""What a change of objects would do, found out by doing it to a mesh that nobody is served from.

In reading order:

* ``edits``: the difference of two JSON values, as a JSON patch.
* ``written``: objects as the JSON that their authors wrote, and what of an object a change makes different.
* ``pushed``: the difference of two snapshots, by resource; what of it ends connections (``drains``).
* ``references``: what a snapshot leads to and does not have.
* ``planning``: a change applied object by object, and everything that is different then.
* ``answers``: requests (of routing tests) whose answer is another.
* ``question``: a question as it comes over HTTP; ``words``: the answer as JSON.

The compiler that applies the plan is the one that would apply the change: so what is told is what is pushed. It is
used up by that. A control plane that runs asks a copy of itself (``wiring.forking``).
"""
