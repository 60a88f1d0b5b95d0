import pytest

from daskgmm.pipeline.clusters.connection import security_warning


@pytest.mark.parametrize(
    ("address", "is_plain"),
    [
        ("tcp://127.0.0.1:8786", False),
        ("tcp://localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tls://10.0.0.7:8786", False),
        ("gateway://10.0.0.7:8786/name", False),
        ("tcp://10.0.0.7:8786", True),
        ("tcp://127.example.org:8786", True),
        ("ws://scheduler:8786", True),
    ],
)
def test_an_unencrypted_connection_to_another_machine_has_a_warning(address, is_plain):
    assert ("not encrypted" in security_warning(address, "use TLS")) == is_plain
