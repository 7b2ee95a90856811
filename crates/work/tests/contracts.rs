//! The committed artefacts are what `contracts/build.sh` made of the committed sources.

use sha2::{Digest, Sha256};
use std::{fs, path::Path};

fn sha256(path: &Path) -> String {
    let content = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn sources_and_artefacts_have_their_recorded_sums() {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let sums = fs::read_to_string(contracts.join("out/SHA256SUMS")).expect("the file of sums");
    let mut files = 0;
    for line in sums.lines() {
        let (sum, file) = line.split_once("  ").expect("`sum  file`");
        assert_eq!(sha256(&contracts.join(file)), sum, "{file}: run contracts/build.sh");
        files += 1;
    }
    let sources = fs::read_dir(contracts.join("src")).expect("the folder of sources").count();
    let artefacts = fs::read_dir(contracts.join("out")).expect("the folder of artefacts").count() - 1;
    assert_eq!(files, sources + artefacts, "every source and artefact has a sum");
}

#[test]
fn artefacts_name_the_source_they_were_made_of() {
    let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
    let artefact = fs::read_to_string(contracts.join("out/Token.json")).expect("the artefact");
    let artefact: serde_json::Value = serde_json::from_str(&artefact).expect("JSON");
    assert_eq!(artefact["source_sha256"], sha256(&contracts.join("src/Token.sol")));
}
