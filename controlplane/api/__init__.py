"""The HTTP API ``/api/v1`` of the monitoring port: what commands, the page and scripts of users ask a control plane.

``models`` says what answers look like, ``queries`` what may be asked; ``views`` makes answers from what ``admin`` may
ask of the program, in steps that the event loop takes a few of at a time. ``operations`` is the one table of what there
is: ``application`` serves it, and ``openapi`` describes it. ``problems`` is the one shape of all errors (RFC 9457).

Nothing here changes anything. A wrong question is a 400 that names what is wrong with it, something that is not there a
404; an error of ours is a 500 and one log event. Who may ask is decided where it is for the debug pages: in ``admin``.
"""
