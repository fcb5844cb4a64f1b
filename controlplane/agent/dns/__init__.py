"""Answers the workload's questions for names of the mesh, and passes all others on (port 15053, UDP and TCP).

The table of names comes over the stream of configuration. ``table`` makes records of it, ``answers`` looks a question
up, ``forward`` asks the name servers of the pod, ``server`` listens, ``settings`` says where. What may go wrong: before
the first table nobody is answered (SERVFAIL), so that no question for a name of the mesh leaves it; a name server that
does not answer is followed by the next.
"""
