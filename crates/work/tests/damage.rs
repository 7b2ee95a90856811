//! Damaged inputs give errors, never panics.

mod common;

use alloy_consensus::Signed;
use alloy_primitives::{Signature, U256, uint};
use braid_testkit::{Rng, data};
use braid_work::{SignedTx, WorkError, load, recover_senders, verify_input};
use common::{ENVIRONMENT_FILES, TINY, TINY_FILES, Temp, on_disk, put};
use std::{fs, path::Path};

/// Says which seed a panic came from.
struct Seed<'a>(&'a str, u64);

impl Drop for Seed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("panicked with {} damaged by seed {}", self.0, self.1);
        }
    }
}

/// Loads everything below `folder` and checks what can be checked; errors are fine.
fn load_all(folder: &Path) -> Result<(), WorkError> {
    for source in load(folder)? {
        let _ = verify_input(&source.load()?).to_string();
    }
    Ok(())
}

/// Damages `bytes` in one of several ways.
fn damage(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let mut below = |bound: usize| rng.below(bound as u64) as usize;
    match below(4) {
        0 => bytes.truncate(below(bytes.len())),
        1 => {
            let at = below(bytes.len());
            bytes[at] ^= 1 << below(8);
        }
        2 => {
            let (from, to) = (below(bytes.len()), below(bytes.len()));
            bytes[to] = bytes[from];
        }
        _ => {
            let at = below(bytes.len());
            let end = (at + 1 + below(8)).min(bytes.len());
            let part = bytes[at..end].to_vec();
            let to = below(bytes.len());
            bytes.splice(to..to, part);
        }
    }
}

fn damage_each_file(folder: &Path, files: &[(&str, &str)], seeds: u64) {
    let mut failed = 0;
    for (name, content) in files {
        for seed in 0..seeds {
            let _seed = Seed(name, seed);
            let mut rng = Rng::new(seed);
            if seed % 4 == 0 {
                // The file itself, as a torn write or a bad disk leaves it.
                let mut bytes = fs::read(on_disk(folder, name)).expect("the file");
                damage(&mut bytes, &mut rng);
                fs::write(on_disk(folder, name), bytes).expect("a written file");
            } else {
                // What is inside, which no checksum can catch.
                let mut bytes = content.as_bytes().to_vec();
                damage(&mut bytes, &mut rng);
                put(folder, name, &bytes);
            }
            failed += usize::from(load_all(folder).is_err());
            put(folder, name, content.as_bytes());
        }
    }
    assert!(failed > 0, "damage must be noticed");
    load_all(folder).expect("the undamaged case");
}

#[test]
fn a_damaged_case_is_an_error() {
    let temp = Temp::new();
    let folder = temp.write(TINY, &TINY_FILES);
    damage_each_file(&folder, &TINY_FILES, 600);
}

#[test]
fn a_damaged_environment_is_an_error() {
    let temp = Temp::new();
    let folder = temp.write("environment", &ENVIRONMENT_FILES);
    damage_each_file(&folder, &ENVIRONMENT_FILES, 600);
}

#[test]
fn a_damaged_real_case_is_an_error() {
    let Some(data) = data() else { return };
    let original = data.join("ethereum/mainnet/19426587");
    let temp = Temp::new();
    let folder = temp.write("cases/19426587", &[]);
    for entry in fs::read_dir(&original).expect("the case").flatten() {
        let bytes = fs::read(entry.path()).expect("a file of the case");
        fs::write(folder.join(entry.file_name()), bytes).expect("a written file");
    }
    for name in ["block.json", "pre_state.json", "post_state.json", "witness.json"] {
        let content = zstd::decode_all(&fs::read(on_disk(&original, name)).expect("a file")[..]);
        let content = content.expect("a compressed file");
        for seed in 0..40 {
            let _seed = Seed(name, seed);
            let mut bytes = content.clone();
            damage(&mut bytes, &mut Rng::new(seed));
            put(&folder, name, &bytes);
            let _ = load_all(&folder);
        }
        put(&folder, name, &content);
    }
}

/// Loads the tiny case with `from` replaced by `to` in one of its files.
fn error_of(file: &str, from: &str, to: &str) -> WorkError {
    let temp = Temp::new();
    let folder = temp.write(TINY, &TINY_FILES);
    let (_, content) = TINY_FILES.into_iter().find(|(name, _)| *name == file).expect("a file of the case");
    assert!(content.contains(from), "{file} has no {from}");
    put(&folder, file, content.replacen(from, to, 1).as_bytes());
    load_all(&folder).expect_err("a broken case")
}

#[test]
fn errors_name_the_item() {
    let error = error_of("block.json", r#""from": "0xa349"#, r#""from": "0xb349"#);
    assert!(matches!(error, WorkError::SenderMismatch { tx: 0, .. }), "{error}");

    let error = error_of("block.json", r#""v": "0x1b""#, r#""v": "0x2""#);
    assert!(matches!(error, WorkError::BadTx { tx: 0, .. }), "{error}");

    let error = error_of("block.json", r#""r": "0x9706"#, r#""r": "0xffffffff"#);
    assert!(matches!(error, WorkError::Json { .. }), "{error}");

    let error = error_of("block.json", r#""r": "0x9706982d5d80bf88"#, r#""r": "0xffffffffffffffff"#);
    assert!(
        matches!(error, WorkError::BadSignature { tx: 0, .. } | WorkError::SenderMismatch { .. }),
        "{error}"
    );

    let error = error_of("block.json", r#""type": "0x0""#, r#""type": "0x7f""#);
    assert!(matches!(error, WorkError::UnknownTxType { tx: 0, ty: 127, .. }), "{error}");

    let error = error_of("block.json", r#""value": "0x7b""#, r#""value": "7b""#);
    let WorkError::Json { at, .. } = &error else { panic!("{error}") };
    assert_eq!(at, "transactions[0].value");

    let error = error_of("meta.json", r#""chain_id": 1"#, r#""chain_id": 5"#);
    assert!(matches!(error, WorkError::UnknownFork { .. }), "{error}");

    let error = error_of("meta.json", "transactions_only", "some_of_it");
    assert!(matches!(error, WorkError::Invalid { .. }), "{error}");

    let hash = format!(r#""code_hash": "0x{}", "nonce""#, "11".repeat(32));
    let error = error_of("pre_state.json", r#""nonce""#, &hash);
    assert!(matches!(error, WorkError::MissingCode { .. }), "{error}");
}

#[test]
fn a_high_s_counts_only_before_homestead() {
    const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
    let temp = Temp::new();
    let case = load(&temp.write(TINY, &TINY_FILES)).expect("a case")[0].load().expect("a block");
    let mut raw = case.raw.expect("signed transactions");
    let SignedTx::Legacy(signed) = raw.txs.remove(0) else { panic!("a legacy transaction") };
    let (tx, signature, _) = signed.into_parts();
    // The other signature of the same message by the same key (EIP-2 forbids the one with the higher s).
    let other = Signature::new(signature.r(), ORDER - signature.s(), !signature.v());
    raw.txs.push(SignedTx::Legacy(Signed::new_unhashed(tx, other)));
    assert!(!raw.low_s);
    assert_eq!(recover_senders(&raw, 1), Ok(vec![case.input.txs[0].caller]));
    raw.low_s = true;
    assert!(matches!(recover_senders(&raw, 1), Err(WorkError::BadSignature { tx: 0, .. })));
}

#[test]
fn what_is_not_there_is_an_error() {
    let temp = Temp::new();
    assert!(matches!(load(&temp.0), Err(WorkError::NotAnInput { .. })));
    assert!(matches!(load(&temp.0.join("nothing")), Err(WorkError::Io { .. })));
    let folder = temp.write(TINY, &TINY_FILES[..1]);
    let case = load(&folder).expect("a case")[0].load().expect("a block without state");
    assert!(matches!(case.state(), Err(WorkError::NoState { .. })));
}

#[test]
fn deep_nesting_is_an_error() {
    let temp = Temp::new();
    let folder = temp.write(TINY, &TINY_FILES);
    put(&folder, "block.json", format!(r#"{{"hash":{}"#, "[".repeat(1_000_000)).as_bytes());
    assert!(matches!(load_all(&folder), Err(WorkError::Json { .. })));
}

#[test]
fn one_bad_input_does_not_stop_the_others() {
    let temp = Temp::new();
    temp.write("cases/9", &TINY_FILES);
    temp.write("cases/10", &TINY_FILES);
    let bad = temp.write("cases/2", &TINY_FILES);
    put(&bad, "block.json", b"{");
    fs::write(temp.0.join("cases/11.json.zst"), b"no zstd").expect("a written file");
    let sources = load(&temp.0.join("cases")).expect("a folder of cases");
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["2", "9", "10", "11"], "numeric order");
    let loaded: Vec<bool> = sources.iter().map(|source| source.load().is_ok()).collect();
    assert_eq!(loaded, [false, true, true, false]);
}

/// A list that lies beside a block comes with it, whatever it says; one that cannot be read is an error.
#[test]
fn access_lists_come_with_their_block() {
    let temp = Temp::new();
    let folder = temp.write(TINY, &TINY_FILES);
    let list = || load(&folder).unwrap().remove(0).load().unwrap().access_list();
    assert_eq!(list().unwrap(), None);
    put(&folder, "access_list.rlp", &[0xc0]);
    assert_eq!(list().unwrap().unwrap().as_ref(), [0xc0]);
    fs::write(folder.join("access_list.rlp"), [0xc1, 0xff]).unwrap();
    assert_eq!(list().unwrap().unwrap().as_ref(), [0xc1, 0xff]);
    fs::remove_file(folder.join("access_list.rlp")).unwrap();
    fs::write(folder.join("access_list.rlp.zst"), [1, 2, 3]).unwrap();
    assert!(matches!(list(), Err(WorkError::Zstd { .. })));
}
