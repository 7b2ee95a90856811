// SPDX-License-Identifier: MIT OR Apache-2.0
// Swaps along a path of pools: swapExactTokensForTokens of Uniswap v2's router (github.com/Uniswap/
// v2-periphery, UniswapV2Router02.sol). The pool of two tokens is found in a mapping.
//
// slot keccak256(lower token, higher token): their pool

switch shr(224, calldataload(0))
case selector("swapExactTokensForTokens(uint256,uint256,address[],address,uint256)") {
    let path := add(4, calldataload(68))
    let last := sub(calldataload(path), 1)
    path := add(path, 32)
    if lt(calldataload(132), timestamp()) { revert(0, 0) }
    if iszero(lt(sub(last, 1), 7)) { revert(0, 0) }

    // What each swap gives, from 0xa00 on: what is returned.
    mstore(0xa00, 0x20)
    mstore(0xa20, add(last, 1))
    mstore(0xa40, calldataload(4))
    for { let i := 0 } lt(i, last) { i := add(i, 1) } {
        let this := token(i)
        let that := token(add(i, 1))
        let pool := poolOf(this, that)
        mstore(0x800, shl(224, selector("getReserves()")))
        if iszero(staticcall(gas(), pool, 0x800, 4, 0x800, 0x60)) { revert(0, 0) }
        let here := mload(0x800)
        let there := mload(0x820)
        if gt(this, that) {
            here := there
            there := mload(0x800)
        }
        let paid := mul(mload(add(0xa40, mul(i, 32))), 997)
        mstore(add(0xa60, mul(i, 32)), div(mul(paid, there), add(mul(here, 1000), paid)))
    }
    if lt(mload(add(0xa40, mul(last, 32))), calldataload(36)) { revert(0, 0) }

    mstore(0x800, shl(224, selector("transferFrom(address,address,uint256)")))
    mstore(0x804, caller())
    mstore(0x824, poolOf(token(0), token(1)))
    mstore(0x844, calldataload(4))
    if iszero(call(gas(), token(0), 0, 0x800, 0x64, 0x800, 0x20)) { revert(0, 0) }
    if iszero(mload(0x800)) { revert(0, 0) }

    for { let j := 0 } lt(j, last) { j := add(j, 1) } {
        let receiver := calldataload(100)
        if lt(add(j, 1), last) { receiver := poolOf(token(add(j, 1)), token(add(j, 2))) }
        let given := mload(add(0xa60, mul(j, 32)))
        let source := poolOf(token(j), token(add(j, 1)))
        mstore(0x800, shl(224, selector("swap(uint256,uint256,address,bytes)")))
        mstore(0x804, 0)
        mstore(0x824, given)
        if gt(token(j), token(add(j, 1))) {
            mstore(0x804, given)
            mstore(0x824, 0)
        }
        mstore(0x844, receiver)
        mstore(0x864, 0x80)
        mstore(0x884, 0)
        if iszero(call(gas(), source, 0, 0x800, 0xa4, 0, 0)) { revert(0, 0) }
    }
    return(0xa00, add(0x60, mul(last, 32)))
}
default { revert(0, 0) }

// Token number `index` of the path.
function token(index) -> address_ {
    address_ := calldataload(add(add(36, calldataload(68)), mul(index, 32)))
}

// The pool of two tokens, which must exist.
function poolOf(a, b) -> found {
    mstore(0x900, a)
    mstore(0x920, b)
    if gt(a, b) {
        mstore(0x900, b)
        mstore(0x920, a)
    }
    found := sload(keccak256(0x900, 0x40))
    if iszero(found) { revert(0, 0) }
}
