"""The sandbox's USDT contract: its source, and what the compiler made of it."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "TetherStandIn.sol"
COMPILED = FOLDER / "TetherStandIn.json"


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """Creation code, the code that then lives on chain, and the 4-byte selector of each function by its signature."""

    creation_code: bytes
    runtime_code: bytes
    selectors: dict[str, bytes]


@cache
def tether() -> Compiled:
    """The committed build of TetherStandIn.sol."""
    built = json.loads(COMPILED.read_text())
    return Compiled(
        creation_code=bytes.fromhex(built["bytecode"]),
        runtime_code=bytes.fromhex(built["deployedBytecode"]),
        selectors={signature: bytes.fromhex(selector) for signature, selector in built["selectors"].items()},
    )
