//! Bad input from end to end: each kind of damage is a specific error that names the file and the item,
//! the same under every profile and number of threads, and it does not stop the others.

mod common;

use common::{Folder, code, err, json, out};
use serde_json::{Value, json};

/// A signed block with a header: one transaction under Frontier rules, of no chain.
const SIGNED: [(&str, &str); 4] = [
    ("block.json.zst", include_str!("../../../crates/work/tests/fixtures/50000/block.json")),
    ("pre_state.json.zst", include_str!("../../../crates/work/tests/fixtures/50000/pre_state.json")),
    ("post_state.json.zst", include_str!("../../../crates/work/tests/fixtures/50000/post_state.json")),
    ("meta.json", include_str!("../../../crates/work/tests/fixtures/50000/meta.json")),
];

/// The form of a case that is then damaged.
#[derive(Clone, Copy)]
enum Form {
    /// [`SIGNED`].
    Signed,
    /// Three senders who each send once, without signatures.
    Bare,
}
use Form::{Bare, Signed};

/// Damage to one file.
#[derive(Clone, Copy)]
enum Damage {
    /// What the pointer points at becomes this.
    Set(&'static str, &'static str),
    /// The object at the pointer loses a key.
    Lose(&'static str, &'static str),
    /// The second half of the compressed file is missing.
    Torn,
    /// The second half of the text is missing.
    Cut,
    /// The file is this instead.
    Text(&'static str),
    /// The file is missing.
    Gone,
}
use Damage::{Cut, Gone, Lose, Set, Text, Torn};

struct Bad {
    name: &'static str,
    form: Form,
    damage: &'static [(&'static str, Damage)],
    status: &'static str,
    kind: &'static str,
    /// Below the case's folder; empty for the folder itself.
    file: &'static str,
    item: Option<&'static str>,
}

const fn bad(
    name: &'static str,
    form: Form,
    damage: &'static [(&'static str, Damage)],
    (status, kind): (&'static str, &'static str),
    file: &'static str,
    item: Option<&'static str>,
) -> Bad {
    Bad { name, form, damage, status, kind, file, item }
}

const BLOCK: &str = "block.json.zst";
const TXS: &str = "txs.json.zst";
const PRE: &str = "pre_state.json.zst";
const HASH: &str = r#""0x1111111111111111111111111111111111111111111111111111111111111111""#;
const HASH_ITEM: Option<&str> = Some("0x1111111111111111111111111111111111111111111111111111111111111111");
const TX0: Option<&str> = Some("transaction 0");
const TX1: Option<&str> = Some("transaction 1");

const TABLE: &[Bad] = &[
    // Files.
    bad("torn", Signed, &[(BLOCK, Torn)], ("unreadable", "zstd"), BLOCK, None),
    bad("cut", Signed, &[(BLOCK, Cut)], ("unreadable", "json"), BLOCK, Some("logsBloom")),
    bad("noise", Signed, &[(PRE, Text("\0noise"))], ("unreadable", "json"), PRE, Some(".")),
    bad("list", Signed, &[(PRE, Text("[1]"))], ("unreadable", "json"), PRE, Some(".")),
    bad("more", Signed, &[(PRE, Text("{} {}"))], ("unreadable", "json"), PRE, Some(".")),
    bad("stateless", Signed, &[(PRE, Gone)], ("unreadable", "no_state"), "", None),
    // Values.
    bad(
        "hex",
        Signed,
        &[(BLOCK, Set("/transactions/0/value", r#""7b""#))],
        ("unreadable", "json"),
        BLOCK,
        Some("transactions[0].value"),
    ),
    bad(
        "range",
        Signed,
        &[(BLOCK, Set("/gasLimit", r#""0x10000000000000000""#))],
        ("unreadable", "json"),
        BLOCK,
        Some("gasLimit"),
    ),
    bad(
        "field",
        Signed,
        &[(BLOCK, Lose("/transactions/0", "nonce"))],
        ("unreadable", "json"),
        BLOCK,
        Some("transactions[0]"),
    ),
    bad(
        "scope",
        Signed,
        &[("meta.json", Set("/scope", r#""half""#))],
        ("unreadable", "invalid"),
        "meta.json",
        Some("scope"),
    ),
    // Codes.
    bad(
        "code",
        Bare,
        &[(PRE, Set("/0x0000000000000000000000000000000000000002/code_hash", HASH))],
        ("unreadable", "missing_code"),
        PRE,
        HASH_ITEM,
    ),
    bad(
        "other_code",
        Bare,
        &[
            (PRE, Set("/0x0000000000000000000000000000000000000002/code_hash", HASH)),
            (PRE, Set("/0x0000000000000000000000000000000000000002/code", r#""0x00""#)),
        ],
        ("unreadable", "wrong_code"),
        PRE,
        HASH_ITEM,
    ),
    // Rules.
    bad(
        "chain",
        Signed,
        &[("meta.json", Set("/chain_id", "5"))],
        ("unreadable", "unknown_fork"),
        BLOCK,
        Some("of chain 5"),
    ),
    bad(
        "fork",
        Bare,
        &[(BLOCK, Set("/spec_id", r#""Atlantis""#))],
        ("unreadable", "unknown_fork"),
        BLOCK,
        Some("Atlantis"),
    ),
    bad(
        "type",
        Signed,
        &[(BLOCK, Set("/transactions/0/type", r#""0x7f""#))],
        ("unreadable", "unknown_tx_type"),
        BLOCK,
        TX0,
    ),
    bad("bare_type", Bare, &[(TXS, Set("/1/tx_type", "5"))], ("unreadable", "unknown_tx_type"), TXS, TX1),
    // Signatures.
    bad(
        "signature",
        Signed,
        &[(BLOCK, Set("/transactions/0/r", r#""0x0""#))],
        ("unreadable", "bad_signature"),
        BLOCK,
        TX0,
    ),
    bad(
        "parity",
        Signed,
        &[(BLOCK, Set("/transactions/0/v", r#""0x2""#))],
        ("unreadable", "bad_tx"),
        BLOCK,
        TX0,
    ),
    bad(
        "sender",
        Signed,
        &[(BLOCK, Set("/transactions/0/from", r#""0xb1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1""#))],
        ("unreadable", "sender_mismatch"),
        BLOCK,
        TX0,
    ),
    // What the header records.
    bad(
        "header",
        Signed,
        &[(BLOCK, Set("/stateRoot", HASH))],
        ("invalid", "check_failed"),
        "",
        Some("header_hash"),
    ),
    bad(
        "txs_root",
        Signed,
        &[(BLOCK, Set("/transactionsRoot", HASH)), (BLOCK, Lose("", "hash"))],
        ("invalid", "check_failed"),
        "",
        Some("transactions_root"),
    ),
    bad(
        "gas_used",
        Signed,
        &[(BLOCK, Set("/gasUsed", r#""0x5209""#)), (BLOCK, Lose("", "hash"))],
        ("invalid", "check_failed"),
        "",
        Some("gas_used"),
    ),
    bad(
        "post_state",
        Signed,
        &[("post_state.json.zst", Set("/0xb1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1/balance", r#""0x7c""#))],
        ("invalid", "check_failed"),
        "",
        Some("post_state"),
    ),
    // Transactions that may not be in the block. The last one of `bare` is made invalid as well: the
    // lowest counts.
    bad("nonce_low", Bare, &[NONCE_7, LAST_POOR], ("invalid", "nonce_too_low"), "", TX1),
    bad(
        "nonce_high",
        Bare,
        &[(TXS, Set("/1/nonce", "1")), LAST_POOR],
        ("invalid", "nonce_too_high"),
        "",
        TX1,
    ),
    bad("poor", Bare, &[POOR, LAST_POOR], ("invalid", "insufficient_funds"), "", TX1),
    bad(
        "gas_limit",
        Bare,
        &[(TXS, Set("/1/gas_limit", "29979001")), LAST_POOR],
        ("invalid", "block_gas_limit"),
        "",
        TX1,
    ),
    bad(
        "intrinsic",
        Bare,
        &[(TXS, Set("/1/gas_limit", "20999")), LAST_POOR],
        ("invalid", "intrinsic_gas_more_than_gas_limit"),
        "",
        TX1,
    ),
    bad(
        "base_fee",
        Bare,
        &[(TXS, Set("/1/gas_price", "6")), LAST_POOR],
        ("invalid", "gas_price_less_than_basefee"),
        "",
        TX1,
    ),
    bad(
        "other_chain",
        Bare,
        &[(TXS, Set("/1/chain_id", "2")), LAST_POOR],
        ("invalid", "invalid_chain_id"),
        "",
        TX1,
    ),
    bad(
        "signed_nonce",
        Signed,
        &[(PRE, Set("/0xa349fdf0ea08c0bc90e9d1fce9d4233a74d00806/nonce", "1"))],
        ("invalid", "nonce_too_low"),
        "",
        TX0,
    ),
];

const NONCE_7: (&str, Damage) = (PRE, Set("/0x0000000000000000000000000000000000000002/nonce", "7"));
const POOR: (&str, Damage) = (PRE, Set("/0x0000000000000000000000000000000000000002/balance", r#""0x1""#));
const LAST_POOR: (&str, Damage) =
    (PRE, Set("/0x0000000000000000000000000000000000000003/balance", r#""0x0""#));

/// Files of a case before it is damaged.
fn files(form: Form) -> Vec<(&'static str, String)> {
    match form {
        Signed => SIGNED.map(|(name, text)| (name, text.to_owned())).to_vec(),
        Bare => {
            let who = |n: u8| format!("0x{n:040x}");
            let tx = |n: u8| {
                json!({
                    "tx_type": 0, "caller": who(n), "to": who(9), "nonce": 0, "value": "0x1", "data": "0x",
                    "gas_limit": 21_000, "gas_price": 10, "gas_priority_fee": null, "chain_id": 1,
                })
            };
            let env = json!({
                "number": 20_000_000, "coinbase": who(8), "timestamp": 1_720_000_000, "gas_limit": 30_000_000,
                "basefee": 7, "difficulty": "0x0", "prevrandao": format!("0x{:064x}", 5),
                "excess_blob_gas": 0, "chain_id": 1, "spec_id": "Cancun",
            });
            let account = json!({ "balance": "0xde0b6b3a7640000", "nonce": 0, "code": null, "storage": {} });
            let pre = json!({ who(1): account, who(2): account, who(3): account });
            let txs = json!([tx(1), tx(2), tx(3)]);
            vec![(BLOCK, env.to_string()), (TXS, txs.to_string()), (PRE, pre.to_string())]
        }
    }
}

/// Writes a case with its damage.
fn write(folder: &Folder, name: &str, form: Form, damage: &[(&str, Damage)]) {
    let files = files(form);
    for (file, _) in damage {
        assert!(files.iter().any(|(name, _)| name == file), "{name}: there is no {file}");
    }
    for (file, text) in files {
        let mut text = text.into_bytes();
        let (mut torn, mut gone) = (false, false);
        for damage in damage.iter().filter(|(name, _)| *name == file).map(|(_, damage)| *damage) {
            match damage {
                Torn => torn = true,
                Gone => gone = true,
                Cut => text.truncate(text.len() / 2),
                Text(other) => text = other.as_bytes().to_vec(),
                Set(..) | Lose(..) => text = edited(&text, damage),
            }
        }
        if file.ends_with(".zst") {
            text = zstd::encode_all(&text[..], 1).unwrap();
        }
        if torn {
            text.truncate(text.len() / 2);
        }
        if !gone {
            folder.write(&format!("{name}/{file}"), &text);
        }
    }
}

fn edited(text: &[u8], damage: Damage) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(text).unwrap();
    match damage {
        Set(pointer, new) => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let new = serde_json::from_str(new).unwrap();
            match value.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
                Value::Array(list) => list[key.parse::<usize>().unwrap()] = new,
                object => object[key] = new,
            }
        }
        Lose(pointer, key) => {
            let object = value.pointer_mut(pointer).and_then(Value::as_object_mut).unwrap();
            object.remove(key).unwrap_or_else(|| panic!("no {key}"));
        }
        _ => unreachable!("not an edit"),
    }
    value.to_string().into_bytes()
}

/// Every profile with the numbers of threads that it can have.
const SEATS: [(&str, &str); 8] = [
    ("lean", "1"),
    ("serial", "1"),
    ("monad", "1"),
    ("monad", "2"),
    ("monad", "8"),
    ("aptos", "1"),
    ("aptos", "2"),
    ("aptos", "8"),
];

#[test]
fn each_bad_input_is_its_own_error_under_every_profile() {
    let folder = Folder::new("bad");
    for bad in TABLE {
        write(&folder, bad.name, bad.form, bad.damage);
    }
    write(&folder, "good_signed", Signed, &[]);
    write(&folder, "good_bare", Bare, &[]);
    let mut errors: Option<Vec<Value>> = None;
    for (profile, threads) in SEATS {
        let mut arguments = vec!["run", "good_signed", "absent"];
        arguments.extend(TABLE.iter().map(|bad| bad.name));
        arguments.extend(["good_bare", "--profile", profile, "--threads", threads, "--json", "-q"]);
        let output = folder.braid(&arguments);
        let at = format!("{profile} with {threads} threads");
        assert_eq!(code(&output), 1, "{at}: {}", err(&output));
        assert!(!err(&output).contains("panicked"), "{at}: {}", err(&output));
        let results = json(&output)["results"].as_array().unwrap().clone();
        assert_eq!(results.len(), TABLE.len() + 3, "{at}");
        for good in [&results[0], &results[TABLE.len() + 2]] {
            assert_eq!(good["status"], "ok", "{at}: {good}");
        }
        let absent = &results[1]["error"];
        assert_eq!((&absent["kind"], &absent["file"]), (&"not_found".into(), &"absent".into()), "{at}");
        let wrong: Vec<String> =
            TABLE.iter().zip(&results[2..]).filter_map(|(bad, result)| difference(bad, result)).collect();
        assert!(wrong.is_empty(), "{at}:\n{}", wrong.join("\n"));
        // The same, to the word.
        let found: Vec<Value> = results.iter().map(|result| result["error"].clone()).collect();
        let expected = errors.get_or_insert_with(|| found.clone());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found, expected, "{at}");
        }
    }
}

/// What is wrong with the error that was reported for `bad`.
fn difference(bad: &Bad, result: &Value) -> Option<String> {
    let error = &result["error"];
    let told = (&result["status"], &error["kind"], &error["file"], &error["item"]);
    let file = if bad.file.is_empty() { bad.name.to_owned() } else { format!("{}/{}", bad.name, bad.file) };
    let right = told == (&bad.status.into(), &bad.kind.into(), &file.into(), &bad.item.into())
        && error["message"].as_str().is_some_and(|text| text.len() > 10)
        && result["gas_used"].is_null() == (result["checks"] == json!({}));
    (!right).then(|| format!("{}: {result}", bad.name))
}

#[test]
fn bad_inputs_have_no_rows_and_do_not_stop_the_others() {
    let folder = Folder::new("bad-compare");
    for bad in TABLE {
        write(&folder, bad.name, bad.form, bad.damage);
    }
    write(&folder, "good", Bare, &[]);
    let mut arguments = vec!["compare", "aptos", "--threads", "2", "--runs", "1", "--json", "--on"];
    arguments.extend(TABLE.iter().map(|bad| bad.name));
    arguments.push("good");
    let output = folder.braid(&arguments);
    assert_eq!(code(&output), 1, "{}", err(&output));
    let rows = json(&output)["rows"].as_array().unwrap().clone();
    let seats: Vec<(&Value, &Value)> = rows.iter().map(|row| (&row["input"], &row["profile"])).collect();
    let good = Value::from("good");
    assert_eq!(seats, [(&good, &"lean".into()), (&good, &"aptos".into())]);
    for bad in TABLE {
        assert!(err(&output).contains(bad.name), "{} is not named: {}", bad.name, err(&output));
    }
}

#[test]
fn what_does_not_exist_is_a_wrong_command_line() {
    let folder = Folder::new("bad-usage");
    write(&folder, "good", Bare, &[]);
    for (arguments, named) in [
        (&["run", "good", "--profile", "nobody"][..], "nobody"),
        (&["run", "good", "--profile", "aptos", "--threads", "257"], "257"),
        (&["run", "good", "--profile", "lean", "-j", "257"], "257"),
        (&["run", "good", "--profile", "aptos", "--threads", "-1"], "-1"),
        (&["run", "good", "--profile", "aptos", "--threads", "two"], "two"),
        (&["compare", "nobody", "--on", "good"], "nobody"),
        (&["compare", "--reference", "nobody", "--on", "good"], "nobody"),
        (&["compare", "--threads", "1,257", "--on", "good"], "257"),
        (&["profiles", "nobody"], "nobody"),
        (&["run", "transfers?txs=many", "--profile", "lean"], "many"),
        (&["run", "transfers?colour=red", "--profile", "lean"], "colour"),
        (&["run", "nosuch?txs=1", "--profile", "lean"], "nosuch"),
    ] {
        let output = folder.braid(arguments);
        assert_eq!((code(&output), out(&output)), (2, ""), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(named), "{arguments:?}: {}", err(&output));
    }
}
