"""What a planted bug is."""

from __future__ import annotations

from dataclasses import dataclass

GRAPHS = "tests/unit/test_machine.py tests/unit/test_graphs.py"


@dataclass(frozen=True)
class Bug:
    """One line that must not be so."""

    invariant: str
    what: str
    path: str
    line: str
    wrong: str
    tests: str = "tests/actors tests/unit/test_machine.py tests/contract/test_store_contract.py"

    @property
    def is_simulated(self) -> bool:
        """Whether the simulated worlds run this code: they have no doors, no file and no sandbox."""
        return self.path.startswith(("execd/core", "execd/actors", "execd/adapters/memory", "execd/library"))
