// SPDX-License-Identifier: UNLICENSED
pragma solidity 0.8.30;

/*
 * The sandbox's USDT: a token with the habits of mainnet's that trip up clients.
 *
 *  - transfer, transferFrom and approve return NOTHING; a caller that insists on a bool reverts.
 *  - 6 decimals, and an owner who can issue.
 *  - A fee on transfers exists but is switched off (basisPointsRate 0), as on mainnet today.
 *  - approve from non-zero to non-zero is refused.
 *
 * TetherStandIn.json is this file compiled with solc 0.8.30 from npm (the package `solc`), outside the repository:
 *
 *   mkdir /tmp/solc && cd /tmp/solc && npm install --ignore-scripts solc@0.8.30
 *   node node_modules/solc/solc.js --version              # 0.8.30+commit.73712a01.Emscripten.clang
 *   python -m hostpay.sandbox.contracts.build /tmp/solc   # writes TetherStandIn.json beside this file
 *
 * The settings (optimizer 200 runs, EVM version paris, no metadata hash) are in build.py, and the same
 * source with the same compiler gives the same bytes.
 */
contract TetherStandIn {
    string public constant name = "Tether USD";
    string public constant symbol = "USDT";
    uint8 public constant decimals = 6;

    uint256 private constant MAX_BASIS_POINTS = 20;
    uint256 private constant MAX_FEE_UNITS = 50 * 10 ** 6;

    address public owner;
    uint256 public totalSupply;
    uint256 public basisPointsRate;
    uint256 public maximumFee;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);
    event Issue(uint256 amount);
    event Params(uint256 feeBasisPoints, uint256 maxFee);

    constructor() {
        owner = msg.sender;
    }

    modifier onlyOwner() {
        require(msg.sender == owner, "not the owner");
        _;
    }

    /// New tokens appear on the owner's balance, as on mainnet.
    function issue(uint256 amount) external onlyOwner {
        totalSupply += amount;
        balanceOf[owner] += amount;
        emit Issue(amount);
        emit Transfer(address(0), owner, amount);
    }

    function setParams(uint256 newBasisPoints, uint256 newMaxFee) external onlyOwner {
        require(newBasisPoints < MAX_BASIS_POINTS, "fee too high");
        require(newMaxFee < MAX_FEE_UNITS, "maximum fee too high");
        basisPointsRate = newBasisPoints;
        maximumFee = newMaxFee;
        emit Params(newBasisPoints, newMaxFee);
    }

    function transfer(address to, uint256 value) external {
        _move(msg.sender, to, value);
    }

    function transferFrom(address from, address to, uint256 value) external {
        uint256 allowed = allowance[from][msg.sender];
        require(allowed >= value, "allowance too low");
        if (allowed < type(uint256).max) {
            allowance[from][msg.sender] = allowed - value;
        }
        _move(from, to, value);
    }

    function approve(address spender, uint256 value) external {
        require(value == 0 || allowance[msg.sender][spender] == 0, "set the allowance to zero first");
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
    }

    function _move(address from, address to, uint256 value) private {
        require(balanceOf[from] >= value, "balance too low");
        uint256 fee = (value * basisPointsRate) / 10000;
        if (fee > maximumFee) {
            fee = maximumFee;
        }
        balanceOf[from] -= value;
        balanceOf[to] += value - fee;
        emit Transfer(from, to, value - fee);
        if (fee > 0) {
            balanceOf[owner] += fee;
            emit Transfer(from, owner, fee);
        }
    }
}
