"""A random grid with walls, a shortest-path search, and a picture."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING or __package__ != "server":
    from ..models import AGENT, CELL_PIXELS, FREE, GOAL, SIZE, WALL
else:  # run from inside the folder
    from models import AGENT, CELL_PIXELS, FREE, GOAL, SIZE, WALL

Cell = tuple[int, int]

MOVES: tuple[Cell, ...] = ((-1, 0), (0, 1), (1, 0), (0, -1))

# The colour of each kind of cell.
_COLOURS = np.array([(240, 240, 240), (60, 60, 60), (40, 90, 200), (30, 160, 70)], np.uint8)


class Grid:
    """Walls, an agent, and a goal that the agent can reach.

    Args:
        random: Determines all positions.
        wall_share: The maximum share of cells that are walls; fewer if they would cut off the goal.

    Attributes:
        agent: The agent's row and column.
        goal: The goal's row and column.
    """

    def __init__(self, random: np.random.Generator, wall_share: float) -> None:
        order = [(int(n) // SIZE, int(n) % SIZE) for n in random.permutation(SIZE * SIZE)]
        self.agent, self.goal = order.pop(), order.pop()
        self._cells = np.full((SIZE, SIZE), FREE, np.uint8)
        for cell in order[: round(wall_share * SIZE * SIZE)]:
            self._cells[cell] = WALL
            if self.distance() is None:
                self._cells[cell] = FREE

    def move(self, number: int) -> None:
        """Move the agent. A move into a wall or off the grid has no effect."""
        target = self._next_to(self.agent, number)
        if target is not None:
            self.agent = target

    def distance(self) -> int | None:
        """The fewest moves from the agent to the goal; None if it cannot be reached."""
        seen, edge, moves = {self.agent}, [self.agent], 0
        while edge:
            if self.goal in edge:
                return moves
            neighbours = {self._next_to(cell, number) for cell in edge for number in range(len(MOVES))}
            edge = [cell for cell in neighbours if cell is not None and cell not in seen]
            seen.update(edge)
            moves += 1
        return None

    def cells(self) -> NDArray[np.uint8]:
        """The kind of each cell: uint8 of shape (SIZE, SIZE)."""
        cells = self._cells.copy()
        cells[self.goal] = GOAL
        cells[self.agent] = AGENT
        return cells

    def frame(self) -> NDArray[np.uint8]:
        """An image: uint8 of shape (FRAME_PIXELS, FRAME_PIXELS, 3)."""
        square = np.ones((CELL_PIXELS, CELL_PIXELS, 1), np.uint8)
        return np.kron(_COLOURS[self.cells()], square)

    def _next_to(self, cell: Cell, number: int) -> Cell | None:
        row, column = cell[0] + MOVES[number][0], cell[1] + MOVES[number][1]
        is_inside = 0 <= row < SIZE and 0 <= column < SIZE
        return (row, column) if is_inside and self._cells[row, column] != WALL else None
