"""What schemathesis sends besides its own ideas; it imports this by SCHEMATHESIS_HOOKS."""

import schemathesis
from hypothesis import strategies as st

# Texts that begin as URLs do and that urlsplit reads badly or not at all, and any others.
URLS = ("http://[", "http://[::1", "http://]", "http://a℀b/x", "http://a:b/", "//", "a\tb", "%")

schemathesis.openapi.format("uri", st.sampled_from(URLS) | st.text().map("http://".__add__))
