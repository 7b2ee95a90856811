// SPDX-License-Identifier: MIT OR Apache-2.0
// A collection of tokens each of which has an owner (EIP-721), open to be minted.
//
// slot 0: tokens minted    slot 1: owner by token    slot 2: number of tokens by owner

switch shr(224, calldataload(0))
case selector("mint(address,uint256)") {
    let to := calldataload(4)
    let count := calldataload(36)
    if or(iszero(to), iszero(count)) { revert(0, 0) }
    if gt(count, 100) { revert(0, 0) }
    let id := sload(0)
    for { let end := add(id, count) } lt(id, end) { id := add(id, 1) } {
        sstore(entry(1, id), to)
        log4(0, 0, topic("Transfer(address,address,uint256)"), 0, to, id)
    }
    sstore(0, id)
    let balance := entry(2, to)
    sstore(balance, add(sload(balance), count))
    stop()
}
case selector("transferFrom(address,address,uint256)") {
    let from := calldataload(4)
    let receiver := calldataload(36)
    let moved := calldataload(68)
    let owner := entry(1, moved)
    if iszero(and(eq(sload(owner), from), eq(from, caller()))) { revert(0, 0) }
    sstore(owner, receiver)
    let paying := entry(2, from)
    sstore(paying, sub(sload(paying), 1))
    let paid := entry(2, receiver)
    sstore(paid, add(sload(paid), 1))
    log4(0, 0, topic("Transfer(address,address,uint256)"), from, receiver, moved)
    stop()
}
case selector("ownerOf(uint256)") {
    mstore(0x800, sload(entry(1, calldataload(4))))
    return(0x800, 0x20)
}
case selector("balanceOf(address)") {
    mstore(0x800, sload(entry(2, calldataload(4))))
    return(0x800, 0x20)
}
case selector("totalSupply()") {
    mstore(0x800, sload(0))
    return(0x800, 0x20)
}
default { revert(0, 0) }

// The slot of a mapping's entry, as Solidity lays it out.
function entry(mapping, key) -> slot {
    mstore(0x800, key)
    mstore(0x820, mapping)
    slot := keccak256(0x800, 0x40)
}
