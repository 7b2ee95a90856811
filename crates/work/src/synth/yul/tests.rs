use super::{YulError, compile};
use alloy_primitives::{Bytes, U256, keccak256};
use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext,
    context::TxEnv,
    database::{CacheDB, EmptyDB},
    primitives::TxKind,
    state::{AccountInfo, Bytecode},
};

/// What the program returns for this input.
fn run(source: &str, input: &[u64]) -> U256 {
    let code = compile(source).unwrap_or_else(|error| panic!("{error}")).code();
    let at = alloy_primitives::Address::repeat_byte(7);
    let mut db = CacheDB::new(EmptyDB::default());
    db.insert_account_info(at, AccountInfo::from_bytecode(Bytecode::new_legacy(code)));
    let data: Vec<u8> = input.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect();
    let tx =
        TxEnv { kind: TxKind::Call(at), data: Bytes::from(data), gas_limit: 1_000_000, ..TxEnv::default() };
    let result = Context::mainnet().with_db(db).build_mainnet().transact(tx).expect("valid").result;
    U256::from_be_slice(result.output().unwrap_or_else(|| panic!("{source}: {result:?}")))
}

const RETURN: &str = "mstore(0x400, x) return(0x400, 32)";

#[test]
fn arguments_are_in_order() {
    assert_eq!(
        run(&format!("let x := sub(calldataload(0), calldataload(32)) {RETURN}"), &[9, 4]),
        U256::from(5)
    );
    let source = "function less(a, b) -> c { c := sub(a, b) }";
    let nested = format!("{source} let x := less(calldataload(0), less(calldataload(32), 1)) {RETURN}");
    assert_eq!(run(&nested, &[9, 4]), U256::from(6));
}

#[test]
fn loops_conditions_and_leave() {
    let sum = "let x for { let i := 1 } iszero(gt(i, calldataload(0))) { i := add(i, 1) } { x := add(x, i) }";
    assert_eq!(run(&format!("{sum} {RETURN}"), &[10]), U256::from(55));
    let sign = "function sign(a) -> b { if iszero(a) { leave } b := 1 } let x := sign(calldataload(0))";
    for (input, output) in [(0, 0), (1, 1), (5, 1)] {
        assert_eq!(run(&format!("{sign} {RETURN}"), &[input]), U256::from(output));
    }
    // The result of an earlier call is not that of the next one.
    let twice = "x := add(mul(10, sign(7)), sign(0))";
    assert_eq!(run(&format!("{sign} {twice} {RETURN}"), &[0]), U256::from(10));
}

#[test]
fn switches() {
    let source = "let x switch calldataload(0) case 1 { x := 10 } case 2 { x := 20 } default { x := 30 }";
    for (input, output) in [(1, 10), (2, 20), (3, 30)] {
        assert_eq!(run(&format!("{source} {RETURN}"), &[input]), U256::from(output));
    }
}

#[test]
fn signatures_are_hashes() {
    let transfer = "Transfer(address,address,uint256)";
    let x = run(&format!("let x := topic(\"{transfer}\") {RETURN}"), &[]);
    assert_eq!(x, U256::from_be_bytes(keccak256(transfer).0));
    let x = run(&format!("let x := selector(\"transfer(address,uint256)\") {RETURN}"), &[]);
    assert_eq!(x, U256::from(0xa905_9cbb_u64));
}

#[test]
fn what_is_wrong_is_said() {
    let unknown = |name: &str| YulError::Unknown(name.to_owned());
    let cases = [
        ("x := 1", unknown("x")),
        ("f(1)", unknown("f")),
        ("jump(1)", unknown("jump")),
        ("leave", unknown("leave")),
        ("let x let x", YulError::Twice("x".to_owned())),
        ("let x := add(1)", YulError::Arguments { name: "add".to_owned(), takes: 2, given: 1 }),
        ("add(1, 2)", YulError::Value("Call(\"add\", [Number(1), Number(2)])".to_owned())),
        ("let x :=\n}", YulError::Unexpected { line: 2, found: "}".to_owned(), expected: "a name" }),
        ("if 1 {", YulError::Unexpected { line: 1, found: "the end".to_owned(), expected: "a name" }),
        ("let x := 0xg", YulError::Number { line: 1, text: "0xg".to_owned() }),
    ];
    for (source, error) in cases {
        assert_eq!(compile(source).err(), Some(error), "{source}");
    }
    let many: String = (0..70).map(|index| format!("let v{index} ")).collect();
    assert_eq!(compile(&many).err(), Some(YulError::Variables));
}
