"""Which part of its square picture a mouth draws."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a square picture: columns left to right and rows top to bottom, ends excluded, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ValueError(f"{self} is no part of a picture")

    @classmethod
    def whole(cls, size: int) -> "Region":
        """All of a picture with sides of `size` pixels."""
        return cls(0, 0, size, size)

    @property
    def rows(self) -> slice:
        """Its rows of a picture (S, S, ...)."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Its columns of a picture (S, S, ...)."""
        return slice(self.left, self.right)

    def holds(self, other: "Region") -> bool:
        """Whether all of `other` lies in it."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def union(self, other: "Region") -> "Region":
        """The smallest region that holds both."""
        return Region(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def rounded(self, step: int, size: int) -> "Region":
        """The smallest region with edges at multiples of `step` that holds it, within `size` pixels."""
        return Region(
            self.left // step * step,
            self.top // step * step,
            min(size, -(-self.right // step) * step),
            min(size, -(-self.bottom // step) * step),
        )

    def within(self, outer: "Region") -> "Region":
        """It in pixels of `outer`, which holds it."""
        x, y = outer.left, outer.top
        return Region(self.left - x, self.top - y, self.right - x, self.bottom - y)
