import pytest

from daskgmm.pipeline.clusters.connection import caution


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
def test_a_way_that_anybody_can_listen_to_is_cautioned_about(address, is_plain):
    assert ("plain text" in caution(address, "")) == is_plain
