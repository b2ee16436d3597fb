"""A commit's file: what was written comes back, or nothing does."""

import pytest

from orchestrator.commits import Commit, CorruptCommit, decode, encode

COMMIT = Commit({"segment": 3, "step": 40, "last": False}, b"state\n\x00\xff",
                {"runs": b"", "snapshots": b"PAR1\nPAR1"})


def test_round_trip():
    assert decode(encode(COMMIT)) == COMMIT


def test_every_single_bit_flip_is_noticed():
    whole = encode(COMMIT)
    for bit in range(8 * len(whole)):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(CorruptCommit):
            decode(bytes(broken))


def test_every_truncation_is_noticed():
    whole = encode(COMMIT)
    for length in range(len(whole)):
        with pytest.raises(CorruptCommit):
            decode(whole[:length])
