"""What the Kubernetes API server asks before it stores an object.

In: AdmissionReviews over HTTPS (port 15017). Out: AdmissionReviews that allow, refuse with every reason, or warn. A
``Reviewer`` is a pure function from a request to a response; ``validation`` is one, ``server`` serves any number
of them under their paths.

What may go wrong: a request that is none (HTTP 400, 415), and our own bugs (HTTP 500, logged): the webhook's
``failurePolicy`` decides about the object then. Objects that got in while nobody was asked are refused by the registry,
which applies the same rules.
"""
