// SPDX-License-Identifier: MIT OR Apache-2.0
// Stands for the contracts that are called by no common interface: reads and writes entries of mappings,
// moves a token, computes, emits an event. What follows the arguments is payload.
//
// mapping 0: key -> what is only read    mapping 1: key -> a counter

switch shr(224, calldataload(0))
case selector("execute(uint256,uint256,uint256,uint256,address,uint256,bytes)") {
    let key := calldataload(4)
    if lt(calldataload(164), timestamp()) {
        // error Expired(uint256)
        mstore(0x800, shl(224, selector("Expired(uint256)")))
        mstore(0x804, calldataload(164))
        revert(0x800, 0x24)
    }
    let x := key
    for { let i := 0 } lt(i, calldataload(36)) { i := add(i, 1) } {
        x := add(x, sload(entry(0, add(key, i))))
    }
    for { let j := 0 } lt(j, calldataload(68)) { j := add(j, 1) } {
        let slot := entry(1, add(key, j))
        sstore(slot, add(sload(slot), 1))
    }
    let token := calldataload(132)
    if token {
        mstore(0x800, shl(224, selector("transferFrom(address,address,uint256)")))
        mstore(0x804, caller())
        mstore(0x824, add(address(), and(key, 7)))
        mstore(0x844, 1000)
        if iszero(call(gas(), token, 0, 0x800, 0x64, 0x800, 0x20)) { revert(0, 0) }
    }
    mstore(0x800, x)
    for { let k := 0 } lt(k, calldataload(100)) { k := add(k, 1) } {
        mstore(0x800, keccak256(0x800, 0x80))
    }
    log3(0x800, 0x20, topic("Executed(address,uint256,uint256)"), caller(), key)
    stop()
}
// Value sent along without a call is taken.
default {
    if calldatasize() { revert(0, 0) }
}

// The slot of a mapping's entry, as Solidity lays it out.
function entry(mapping, at) -> found {
    mstore(0x800, at)
    mstore(0x820, mapping)
    found := keccak256(0x800, 0x40)
}
