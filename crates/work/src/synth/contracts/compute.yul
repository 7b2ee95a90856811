// SPDX-License-Identifier: MIT OR Apache-2.0
// Heavy computation: multiplications, memory, hashes, a few precompiled contracts. What it begins with is
// what its slot held, so no result can be had before.
//
// slot 0: shared by all who ask for it    slot of the caller's address: the caller's own

switch shr(224, calldataload(0))
case selector("run(uint256,uint256,bool)") {
    let rounds := calldataload(4)
    let slot := caller()
    if calldataload(68) { slot := 0 }
    let before := sload(slot)
    let x := add(xor(before, calldataload(36)), 1)
    mstore(0x800, x)
    mstore(0x8e0, x)
    // SHA-256, RIPEMD-160, identity: 2, 3, 4.
    for { let i := 2 } lt(i, 5) { i := add(i, 1) } {
        if iszero(staticcall(gas(), i, 0x800, 0x100, 0x900, 0x20)) { revert(0, 0) }
        mstore(add(0x800, mul(i, 0x20)), mload(0x900))
    }
    // Addition on alt_bn128, of (1, 2) to itself: 6.
    mstore(0x900, 1)
    mstore(0x920, 2)
    mstore(0x940, 1)
    mstore(0x960, 2)
    if iszero(staticcall(gas(), 6, 0x900, 0x80, 0x900, 0x40)) { revert(0, 0) }
    x := xor(x, mload(0x900))
    for { let j := 0 } lt(j, rounds) { j := add(j, 1) } {
        x := mulmod(x, add(x, j), 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001)
        mstore(add(0x800, and(x, 0xe0)), xor(x, j))
        x := keccak256(0x800, 0x100)
    }
    sstore(slot, or(x, 1))
    mstore(0x800, x)
    log2(0x800, 0x20, topic("Done(address,uint256)"), caller())
    return(0x800, 0x20)
}
default { revert(0, 0) }
