"""Who calls, and the certificates that prove it.

An ``Authority`` signs certificates for callers that an ``Authenticator`` has identified; both are used by the secure
port, whose own certificate ``ServingTls`` keeps. What signs is an ``Issuer``, a value that comes from files or from a
Secret (``IssuerSource``) and is read again and again: a change of it takes effect without a restart, a new root first
in the bundle that everybody trusts and only later in what is signed.

What goes wrong: a source that cannot be read or holds nonsense leaves the last good issuer in force; a caller who is
not identified is refused with ``CallRefused``, whose text says which part of the credential was not accepted.
"""
