"""A nonce's transaction, found by counting: right for every history, in few questions, near to where it is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.lib.errors import PermanentError, TransientError
from hostpay.providers.ethereum import PrunedError, Remembering, SentTransaction, find_by_nonce

SENDER = "0x00000000000000000000000000000000000000A1"


class Chain:
    """Transactions of one sender by the blocks they are in; remembers what it was asked."""

    def __init__(self, blocks: list[int]) -> None:
        self.blocks = sorted(blocks)
        self.asked: list[int] = []

    def nonce(self, _address: str, which: int) -> int:
        self.asked.append(which)
        return sum(block <= which for block in self.blocks)

    def transactions_from(self, _address: str, block_number: int) -> tuple[SentTransaction, ...]:
        return tuple(sent(nonce, block) for nonce, block in enumerate(self.blocks) if block == block_number)


def sent(nonce: int, block: int) -> SentTransaction:
    return SentTransaction(
        tx_hash=f"0x{nonce:064x}",
        nonce=nonce,
        from_address=SENDER,
        to_address=SENDER,
        value_wei=1,
        data=b"",
        gas_limit=21_000,
        block_number=block,
        block_hash=f"0x{block:064x}",
        mined_at=datetime(2026, 1, 1, tzinfo=UTC),
        signature=None,
    )


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=12), st.data())
def test_it_finds_every_nonce_of_every_history(blocks: list[int], data: st.DataObject) -> None:
    chain = Chain(blocks)
    nonce = data.draw(st.integers(0, len(blocks) - 1))
    highest = data.draw(st.integers(chain.blocks[nonce], 6_000))
    lowest = data.draw(st.integers(0, chain.blocks[nonce]))

    found = find_by_nonce(chain, sender=SENDER, nonce=nonce, lowest=lowest, highest=highest)

    assert found == sent(nonce, chain.blocks[nonce])
    assert len(chain.asked) <= 40


def test_it_asks_about_no_state_much_older_than_the_transaction() -> None:
    chain = Chain([100, 999_000])

    find_by_nonce(chain, sender=SENDER, nonce=1, lowest=0, highest=1_000_000)

    assert min(chain.asked) >= 997_000
    assert len(chain.asked) < 25


def test_a_nonce_that_is_not_used_yet_is_asked_for_later() -> None:
    with pytest.raises(TransientError, match="not used up to block 50"):
        find_by_nonce(Chain([60]), sender=SENDER, nonce=0, lowest=0, highest=50)


def test_a_nonce_that_was_used_before_the_lowest_block_is_no_answer() -> None:
    with pytest.raises(PermanentError, match="before block 20"):
        find_by_nonce(Chain([10]), sender=SENDER, nonce=0, lowest=20, highest=50)


def test_a_count_without_a_transaction_is_told_as_none() -> None:
    class Silent(Chain):
        def transactions_from(self, _address: str, _block_number: int) -> tuple[SentTransaction, ...]:
            return ()

    assert find_by_nonce(Silent([10]), sender=SENDER, nonce=0, lowest=0, highest=50) is None


class Pruned(Chain):
    """Keeps the states after its last hundred blocks, and all blocks."""

    def __init__(self, blocks: list[int], *, head: int) -> None:
        super().__init__(blocks)
        self.head = head
        self.read: list[int] = []

    def nonce(self, address: str, which: int) -> int:
        if which < self.head - 100:
            raise PrunedError(f"the state after block {which} is pruned")
        return super().nonce(address, which)

    def transactions_from(self, address: str, block_number: int) -> tuple[SentTransaction, ...]:
        self.read.append(block_number)
        return super().transactions_from(address, block_number)


def test_behind_pruned_states_the_blocks_are_read_from_the_oldest_state_back() -> None:
    chain = Pruned([100, 4_700], head=5_000)

    assert find_by_nonce(chain, sender=SENDER, nonce=1, lowest=100, highest=5_000) == sent(1, 4_700)
    assert max(chain.read) <= 4_950


def test_blocks_are_read_back_only_so_far_and_then_it_is_an_error() -> None:
    chain = Pruned([100, 200], head=5_000)

    with pytest.raises(
        PrunedError, match=r"is pruned; it is in none of the blocks \d+ to \d+, which were read instead"
    ):
        find_by_nonce(chain, sender=SENDER, nonce=1, lowest=100, highest=5_000)

    assert len(chain.read) == 1_000


def test_a_block_is_read_once_for_all_nonces_that_are_looked_for() -> None:
    class Pruned(Chain):
        def nonce(self, _address: str, which: int) -> int:
            if which < 1_000:
                raise PrunedError("gone")
            return super().nonce(_address, which)

        def transactions_from(self, address: str, block_number: int) -> tuple[SentTransaction, ...]:
            self.asked.append(block_number)
            return super().transactions_from(address, block_number)

    chain = Pruned([500, 501, 502])
    blocks = Remembering(node=chain)

    for nonce in range(3):
        assert find_by_nonce(blocks, sender=SENDER, nonce=nonce, lowest=0, highest=1_000) == sent(nonce, 500 + nonce)

    read = [number for number in chain.asked if number < 1_000]
    assert len(read) == len(set(read))
