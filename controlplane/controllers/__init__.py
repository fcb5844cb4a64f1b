"""What writes to Kubernetes.

Each writer runs on one replica at a time: ``Leadership`` holds a Lease and runs it while it holds. A writer compares
before it writes, so that what is right already costs no write, and repairs what somebody else has changed.
"""
