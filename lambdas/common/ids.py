"""Ids that the server makes."""

from __future__ import annotations

import secrets
import uuid


def uuid7(now_ms: int) -> str:
    """A UUID version 7 (RFC 9562, section 5.7): 48 bits of time, then random, so that ids sort by age."""
    value = (now_ms & (2**48 - 1)) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
