import pytest

from engine.mouth.batches import LADDER, MAX_BATCH, PROFILES, chunks, padded, profile_of


def test_the_ladder_climbs_to_the_largest_batch() -> None:
    assert list(LADDER) == sorted(set(LADDER))
    assert LADDER[0] == 1
    assert MAX_BATCH == LADDER[-1] == 64


@pytest.mark.parametrize("count", range(1, MAX_BATCH + 1))
def test_a_batch_is_padded_by_less_than_its_own_size(count: int) -> None:
    size = padded(count)
    assert size in LADDER
    assert count <= size < 2 * count + (count == 1)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 200])
def test_chunks_hold_everything_once_and_in_order(count: int) -> None:
    pieces = chunks(count)
    assert [index for piece in pieces for index in piece] == list(range(count))
    assert all(0 < len(piece) <= MAX_BATCH for piece in pieces)
    assert len(pieces) == -(-count // MAX_BATCH)


@pytest.mark.parametrize("size", LADDER)
def test_every_size_has_one_profile_that_takes_it(size: int) -> None:
    smallest, best, largest = PROFILES[profile_of(size)]
    assert smallest <= size <= largest
    assert smallest <= best <= largest
    assert sum(low <= size <= high for low, _, high in PROFILES) == 1


def test_a_single_face_has_a_profile_made_for_it() -> None:
    assert PROFILES[profile_of(1)][1] == 1
