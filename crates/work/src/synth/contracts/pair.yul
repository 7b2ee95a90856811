// SPDX-License-Identifier: MIT OR Apache-2.0
// A pool of two tokens whose product never decreases, with the interface, the fee (0.3 %), the events and
// the packed reserves of a Uniswap v2 pair (github.com/Uniswap/v2-core, UniswapV2Pair.sol).
//
// slot 0: first token     slot 2: reserves (112 bits each) and when they were last written (32 bits)
// slot 1: second token    slot 3, 4: sums of prices over time (UQ112.112)    slot 5: 1 if unlocked

switch shr(224, calldataload(0))
case selector("swap(uint256,uint256,address,bytes)") {
    if iszero(eq(sload(5), 1)) { revert(0, 0) }
    sstore(5, 0)
    let out0 := calldataload(4)
    let out1 := calldataload(36)
    let to := calldataload(68)
    let packed := sload(2)
    let reserve0 := and(packed, 0xffffffffffffffffffffffffffff)
    let reserve1 := and(shr(112, packed), 0xffffffffffffffffffffffffffff)
    if iszero(or(out0, out1)) { revert(0, 0) }
    if iszero(and(lt(out0, reserve0), lt(out1, reserve1))) { revert(0, 0) }

    let token0 := sload(0)
    let token1 := sload(1)
    pay(token0, to, out0)
    pay(token1, to, out1)
    let balance0 := holds(token0)
    let balance1 := holds(token1)
    let in0 := more(balance0, sub(reserve0, out0))
    let in1 := more(balance1, sub(reserve1, out1))
    if iszero(or(in0, in1)) { revert(0, 0) }

    // The product, less the fee, must not decrease.
    let left0 := sub(mul(balance0, 1000), mul(in0, 3))
    let left1 := sub(mul(balance1, 1000), mul(in1, 3))
    if lt(mul(left0, left1), mul(mul(reserve0, reserve1), 1000000)) { revert(0, 0) }
    if shr(112, or(balance0, balance1)) { revert(0, 0) }

    // The first swap of a block adds the prices that held since the last one.
    let elapsed := and(sub(timestamp(), shr(224, packed)), 0xffffffff)
    if elapsed {
        sstore(3, add(sload(3), mul(div(shl(112, reserve1), reserve0), elapsed)))
        sstore(4, add(sload(4), mul(div(shl(112, reserve0), reserve1), elapsed)))
    }
    sstore(2, or(or(balance0, shl(112, balance1)), shl(224, and(timestamp(), 0xffffffff))))
    mstore(0x800, balance0)
    mstore(0x820, balance1)
    log1(0x800, 0x40, topic("Sync(uint112,uint112)"))
    mstore(0x800, in0)
    mstore(0x820, in1)
    mstore(0x840, out0)
    mstore(0x860, out1)
    log3(0x800, 0x80, topic("Swap(address,uint256,uint256,uint256,uint256,address)"), caller(), to)
    sstore(5, 1)
    stop()
}
case selector("getReserves()") {
    let all := sload(2)
    mstore(0x800, and(all, 0xffffffffffffffffffffffffffff))
    mstore(0x820, and(shr(112, all), 0xffffffffffffffffffffffffffff))
    mstore(0x840, shr(224, all))
    return(0x800, 0x60)
}
case selector("token0()") {
    mstore(0x800, sload(0))
    return(0x800, 0x20)
}
case selector("token1()") {
    mstore(0x800, sload(1))
    return(0x800, 0x20)
}
default { revert(0, 0) }

// a - b, or zero.
function more(a, b) -> difference {
    if gt(a, b) { difference := sub(a, b) }
}

// This pool's balance of a token.
function holds(token) -> amount {
    mstore(0x800, shl(224, selector("balanceOf(address)")))
    mstore(0x804, address())
    if iszero(staticcall(gas(), token, 0x800, 0x24, 0x800, 0x20)) { revert(0, 0) }
    amount := mload(0x800)
}

// Sends some of a token, unless that is nothing.
function pay(asset, receiver, value) {
    if iszero(value) { leave }
    mstore(0x800, shl(224, selector("transfer(address,uint256)")))
    mstore(0x804, receiver)
    mstore(0x824, value)
    if iszero(call(gas(), asset, 0, 0x800, 0x44, 0x800, 0x20)) { revert(0, 0) }
    if iszero(mload(0x800)) { revert(0, 0) }
}
