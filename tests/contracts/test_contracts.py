"""The contracts that every algorithm in the table keeps (`purerl.testing`)."""

import pytest

from purerl.testing import CONTRACTS, a_wrong_environment_is_refused
from tests.contracts.cases import CASES, EVERY_CASE


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize("name", EVERY_CASE)  # case after case: what they share is kept for two of them
def test_the_contract_is_kept(contract, name):
    if contract is a_wrong_environment_is_refused and CASES[name].wrong_environment is None:
        pytest.skip("no environment in the table is wrong for it")
    contract(CASES[name])
