"""Headers read at once."""

from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from addon.protocol import headers

NAMES = st.sampled_from([b"Host", b"host", b"Accept", b"X-A", b"x-a"])
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=4)), max_size=6)


@given(FIELDS)
def test_the_same_as_mitmproxy(fields: list[tuple[bytes, bytes]]) -> None:
    """Names in any case, repeated headers and bytes that are not UTF-8 are read as by mitmproxy."""
    read, theirs = headers.read(fields), http.Headers(fields)
    for name in ("host", "accept", "x-a", "absent"):
        assert headers.text(read, name.encode()) == theirs.get(name)
        assert (name.encode() in read) is (name in theirs)
