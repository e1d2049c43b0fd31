"""Content security policies."""

import base64
import hashlib

from gp4u_server.api.headers import inline_script_hashes, page_policy

PAGE = """<script>theme()</script><script type="module" src="/assets/a.js"></script><script type="module">b
</script>"""


def test_inline_scripts_are_allowed_by_hash_and_linked_ones_by_origin() -> None:
    hashes = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (b"theme()", b"b\n")]
    assert inline_script_hashes(PAGE) == [f"'sha256-{digest}'" for digest in hashes]
    policy = page_policy(inline_script_hashes(PAGE))
    assert f"script-src 'self' 'sha256-{hashes[0]}' 'sha256-{hashes[1]}';" in policy
    assert "frame-ancestors 'none'" in policy
