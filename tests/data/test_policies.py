import json
import pickle

import pytest

from daskgmm.data.pass_log import PassPurpose
from daskgmm.data.policies import BadChunkPolicy, MissingPolicy
from daskgmm.errors import DataError

MEMBERS = [*MissingPolicy, *BadChunkPolicy, *PassPurpose]


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_is_its_string(member):
    assert member == member.value
    assert repr(member) == repr(member.value)
    assert json.dumps(member) == json.dumps(member.value)
    assert type(member)(member.value) is pickle.loads(pickle.dumps(member)) is member


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        (MissingPolicy, "missing must be 'raise', 'omit' or 'marginal', not 'drop'"),
        (BadChunkPolicy, "on_bad_chunk must be 'raise' or 'skip', not 'drop'"),
    ],
)
def test_an_unknown_policy_is_one_sentence(policy, sentence):
    with pytest.raises(DataError) as raised:
        policy("drop")
    assert str(raised.value) == sentence
