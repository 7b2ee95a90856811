// SPDX-License-Identifier: MIT OR Apache-2.0
// A market with an order book: limit orders at 256 price levels, each a queue in order of time, matched as
// they come in. Traders pay out of what they have deposited.
//
// slot 0: orders so far     slot 1: levels with bids, a bit each     slot 2: levels with asks, a bit each
// mapping 3: order -> owner (160 bits), next order of its level (64), level (8), 1 if it is a bid (1)
// mapping 4: order -> amount left
// mapping 5: 256 * (1 if bids) + level -> amount (128 bits), last order (64), first order (64)
// mapping 6: trader -> base deposited     mapping 7: trader -> quote deposited
// Orders count from one. An order that was cancelled stays in its queue with nothing left.

switch shr(224, calldataload(0))
case selector("place(bool,uint256,uint256)") {
    let bid := calldataload(4)
    let price := calldataload(36)
    let left := calldataload(68)
    if or(gt(bid, 1), gt(price, 255)) { revert(0, 0) }
    if or(iszero(left), shr(96, left)) { revert(0, 0) }
    let id := add(sload(0), 1)
    sstore(0, id)
    log2(0, 0, topic("Placed(uint256)"), id)

    // What it may cost is paid at once.
    let cost := left
    if bid { cost := mul(left, price) }
    let purse := entry(add(6, bid), caller())
    let deposited := sload(purse)
    if lt(deposited, cost) { revert(0, 0) }
    sstore(purse, sub(deposited, cost))

    // Bids match the lowest asks, asks the highest bids.
    let done := 0
    for {} iszero(done) {} {
        done := 1
        let levels := sload(add(1, bid))
        if levels {
            let best := 0
            if bid {
                best := sub(255, clz(and(levels, sub(0, levels))))
                done := gt(best, price)
            }
            if iszero(bid) {
                best := sub(255, clz(levels))
                done := lt(best, price)
            }
            if iszero(done) {
                left := sweep(bid, price, best, left)
                done := iszero(left)
            }
        }
    }
    if left { rest(id, bid, price, left) }
    mstore(0x800, id)
    return(0x800, 0x20)
}
case selector("cancel(uint256)") {
    let order := calldataload(4)
    let about := sload(entry(3, order))
    let slot := entry(4, order)
    let remains := sload(slot)
    // One that was filled meanwhile, or at once, is no error.
    if iszero(remains) { stop() }
    if iszero(eq(and(about, 0xffffffffffffffffffffffffffffffffffffffff), caller())) { revert(0, 0) }
    sstore(slot, 0)
    let level := and(shr(224, about), 0xff)
    let isBid := shr(232, about)
    let back := remains
    if isBid { back := mul(remains, level) }
    give(add(6, isBid), caller(), back)
    let queue := entry(5, add(shl(8, isBid), level))
    let state := sub(sload(queue), remains)
    if iszero(and(state, 0xffffffffffffffffffffffffffffffff)) { state := empty(isBid, level) }
    sstore(queue, state)
    log2(0, 0, topic("Cancelled(uint256)"), order)
    stop()
}
default { revert(0, 0) }

// Matches with the queue at one level of the other side until one of both is used up.
function sweep(buys, limit, at, want) -> lacks {
    lacks := want
    let line := entry(5, add(shl(8, iszero(buys)), at))
    let queued := sload(line)
    let total := and(queued, 0xffffffffffffffffffffffffffffffff)
    let head := shr(192, queued)
    for {} and(gt(lacks, 0), gt(total, 0)) {} {
        let maker := sload(entry(3, head))
        let where := entry(4, head)
        let offered := sload(where)
        let traded := offered
        if lt(lacks, traded) { traded := lacks }
        if traded {
            sstore(where, sub(offered, traded))
            lacks := sub(lacks, traded)
            total := sub(total, traded)
            settle(buys, limit, at, traded, and(maker, 0xffffffffffffffffffffffffffffffffffffffff))
            mstore(0x800, at)
            mstore(0x820, traded)
            log3(0x800, 0x40, topic("Traded(uint256,address,uint256,uint256)"), head, caller())
        }
        if eq(offered, traded) { head := and(shr(160, maker), 0xffffffffffffffff) }
    }
    let now := or(total, or(shl(192, head), and(queued, shl(128, 0xffffffffffffffff))))
    if iszero(total) { now := empty(iszero(buys), at) }
    sstore(line, now)
}

// Base to who buys, quote to who sells, and to a buyer what the price was better than the limit.
function settle(taken, most, level_, amount, who) {
    if taken {
        give(6, caller(), amount)
        give(7, who, mul(amount, level_))
        if gt(most, level_) { give(7, caller(), mul(amount, sub(most, level_))) }
        leave
    }
    give(6, who, amount)
    give(7, caller(), mul(amount, level_))
}

// Puts what is left of an order at the end of its level's queue.
function rest(number, side, price_, amount_) {
    sstore(entry(3, number), or(caller(), or(shl(224, price_), shl(232, side))))
    sstore(entry(4, number), amount_)
    let tailOf := entry(5, add(shl(8, side), price_))
    let before := sload(tailOf)
    let first := number
    if before {
        first := shr(192, before)
        let previous := entry(3, and(shr(128, before), 0xffffffffffffffff))
        sstore(previous, or(sload(previous), shl(160, number)))
    }
    let sum := add(and(before, 0xffffffffffffffffffffffffffffffff), amount_)
    sstore(tailOf, or(sum, or(shl(128, number), shl(192, first))))
    let bits := sub(2, side)
    sstore(bits, or(sload(bits), shl(price_, 1)))
}

// Takes a level out of the bits of its side; what its queue then is.
function empty(bids, which) -> nothing {
    let set := sub(2, bids)
    sstore(set, and(sload(set), not(shl(which, 1))))
}

// Adds to a deposit.
function give(deposit, trader, value) {
    let to := entry(deposit, trader)
    sstore(to, add(sload(to), value))
}

// The slot of a mapping's entry, as Solidity lays it out.
function entry(mapping, key) -> slot_ {
    mstore(0x800, key)
    mstore(0x820, mapping)
    slot_ := keccak256(0x800, 0x40)
}
