"""Compiles TetherStandIn.sol with a solc that lives outside the repository: `python -m ... FOLDER_WITH_NODE_MODULES`.

Run only when the contract changes; its product is committed, so that nothing but Python is needed to deploy it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hostpay.sandbox.contracts import COMPILED, SOURCE

COMPILER_VERSION = "0.8.30+commit.73712a01.Emscripten.clang"
SETTINGS = {
    "optimizer": {"enabled": True, "runs": 200},
    # The oldest target that every local chain runs, whatever hard fork it starts with.
    "evmVersion": "paris",
    # Without the metadata hash the bytes depend on the source's meaning only, not on its comments or its path.
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {
        "*": {"*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object", "evm.methodIdentifiers"]}
    },
}


def build(solc_folder: Path) -> None:
    """Writes TetherStandIn.json. Raises SystemExit with the compiler's words when it refuses."""
    compiler = solc_folder / "node_modules" / "solc" / "solc.js"
    version = _run(["node", str(compiler), "--version"]).strip()
    if version != COMPILER_VERSION:
        raise SystemExit(f"solc is {version}, the committed bytes come from {COMPILER_VERSION}")
    question = {
        "language": "Solidity",
        "sources": {SOURCE.name: {"content": SOURCE.read_text()}},
        "settings": SETTINGS,
    }
    answer: dict[str, Any] = json.loads(
        _only_json(_run(["node", str(compiler), "--standard-json"], json.dumps(question)))
    )
    problems = [problem["formattedMessage"] for problem in answer.get("errors", [])]
    if problems:
        raise SystemExit("\n".join(problems))
    contract = answer["contracts"][SOURCE.name]["TetherStandIn"]
    product = {
        "compiler": COMPILER_VERSION,
        "abi": contract["abi"],
        "selectors": contract["evm"]["methodIdentifiers"],
        "bytecode": contract["evm"]["bytecode"]["object"],
        "deployedBytecode": contract["evm"]["deployedBytecode"]["object"],
    }
    COMPILED.write_text(json.dumps(product, indent=2) + "\n")


def _run(command: list[str], text: str = "") -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


def _only_json(output: str) -> str:
    """solc.js may print a line about its call-back before the answer."""
    return output[output.index("{") :]


if __name__ == "__main__":
    build(Path(sys.argv[1]))
