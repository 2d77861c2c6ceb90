import pytest

from engine.mouth.region import Region

SOME = Region(6, 40, 186, 182)


def test_the_whole_square() -> None:
    assert Region.whole(192) == Region(0, 0, 192, 192)
    assert Region.whole(192).rows == slice(0, 192)


def test_rows_and_columns() -> None:
    assert SOME.rows == slice(40, 182)
    assert SOME.columns == slice(6, 186)


@pytest.mark.parametrize("edges", [(-1, 0, 4, 4), (0, -1, 4, 4), (4, 0, 4, 4), (0, 5, 4, 4)])
def test_what_is_no_part_of_a_picture_is_refused(edges: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="no part"):
        Region(*edges)


@pytest.mark.parametrize("edge", range(4))
def test_it_holds_what_reaches_no_further(edge: int) -> None:
    edges = [6, 40, 186, 182]
    assert SOME.holds(SOME)
    edges[edge] += 1 if edge < 2 else -1
    assert SOME.holds(Region(*edges))
    edges[edge] += -2 if edge < 2 else 2
    assert not SOME.holds(Region(*edges))


def test_a_union_is_the_smallest_that_holds_both() -> None:
    both = SOME.union(Region(0, 50, 100, 190))
    assert both == Region(0, 40, 186, 190)
    assert SOME.union(Region(10, 50, 20, 60)) == SOME


def test_rounding_goes_outwards_and_stays_in_the_square() -> None:
    assert SOME.rounded(4, 192) == Region(4, 40, 188, 184)
    assert Region(1, 1, 47, 46).rounded(4, 47) == Region(0, 0, 47, 47)
    assert SOME.rounded(4, 192).rounded(4, 192) == SOME.rounded(4, 192)


def test_seen_from_a_larger_one() -> None:
    assert SOME.within(Region(2, 38, 190, 190)) == Region(4, 2, 184, 144)
    assert SOME.within(SOME) == Region(0, 0, 180, 142)
