"""Live probes of a local AWS: does it behave as AWS does, where this system depends on it?"""
