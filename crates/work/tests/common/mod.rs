//! What the tests of this crate share: a temporary folder with a tiny case, and the shared data.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Name of the tiny case's folder.
pub(crate) const TINY: &str = "46147";

/// The tiny case's files: name without `.zst`, and content.
pub(crate) const TINY_FILES: [(&str, &str); 4] = [
    ("block.json", include_str!("../fixtures/46147/block.json")),
    ("pre_state.json", include_str!("../fixtures/46147/pre_state.json")),
    ("post_state.json", include_str!("../fixtures/46147/post_state.json")),
    ("meta.json", include_str!("../fixtures/46147/meta.json")),
];

/// A tiny environment with inline code, storage, a block hash, every list of a transaction.
pub(crate) const ENVIRONMENT_FILES: [(&str, &str); 3] = [
    (
        "block.json",
        r#"{"number": 22546209, "coinbase": "0x4838b106fce9647bdf1e7877bf73ce8b0bad5f97",
            "timestamp": 1748011091, "gas_limit": 36035155, "basefee": 7, "difficulty": "0x0",
            "prevrandao": "0x0f102bc35b4655a46908bc7c2c39d18b1f74c40d6f291aa85fe6c4897794664a",
            "excess_blob_gas": 655360, "chain_id": 1, "spec_id": "Prague", "block_hashes": {"22546208":
            "0x5854bc31e2f2c96dc08b5c9bd3466f80f2aea4a517dea608de33c96ac3a1c7ae"}}"#,
    ),
    (
        "txs.json",
        r#"[{"tx_type": 4, "caller": "0xf145f05eb7a538ba981e901e6edc7920e14d995e",
             "to": "0x3328f7f4a1d1c57c35df56bbf0c9dcafca309c49", "nonce": 3574, "value": "0x0",
             "data": "0x75713a08", "gas_limit": 489804, "gas_price": 62918101059,
             "gas_priority_fee": 550, "chain_id": 1, "blob_hashes": [], "max_fee_per_blob_gas": 0,
             "access_list": [{"address": "0x3328f7f4a1d1c57c35df56bbf0c9dcafca309c49", "storage_keys":
               ["0x0f0579da10bca208d6e5250e974d49754b21b0685a9cbdc6180225fe159ba323"]}],
             "authorization_list": [{"chain_id": "0x1", "nonce": 9, "y_parity": 0,
               "address": "0xe6b97aa1490c93c28a14d86c13c9dc9c950643ed",
               "r": "0x7e1fe7f8e42cd736adeb2b9e136ce4417c4ee2eb88a01baf6d57bb0563c51a32",
               "s": "0x37cf0a112f58344de5186a25c06b4668a74b021d876583c12c00f255055d9897"}]}]"#,
    ),
    (
        "pre_state.json",
        r#"{"0x3328f7f4a1d1c57c35df56bbf0c9dcafca309c49": {"balance": "0x0", "nonce": 1,
             "code": "0x60806040", "storage": {"0x1": "0x2", "0x3": "0x0"}},
            "0xf145f05eb7a538ba981e901e6edc7920e14d995e": {"balance": "0x313b2c58d77c58826",
             "nonce": 3574, "code": null, "storage": {}}}"#,
    ),
];

/// A temporary folder, removed when dropped.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Relaxed: only uniqueness within the process matters.
        let unique = format!("braid-work-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(unique);
        fs::create_dir_all(&path).expect("a temporary folder");
        Temp(path)
    }

    /// Writes files into a folder inside, each compressed unless it is `meta.json`.
    pub(crate) fn write(&self, folder: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.0.join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        for (name, content) in files {
            put(&folder, name, content.as_bytes());
        }
        folder
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Path of a file of a case on disk.
pub(crate) fn on_disk(folder: &Path, name: &str) -> PathBuf {
    if name == "meta.json" { folder.join(name) } else { folder.join(format!("{name}.zst")) }
}

/// Writes one file, compressed unless it is `meta.json`.
pub(crate) fn put(folder: &Path, name: &str, content: &[u8]) {
    let bytes = match name {
        "meta.json" => content.to_vec(),
        _ => zstd::encode_all(content, 1).expect("compression"),
    };
    fs::write(on_disk(folder, name), bytes).expect("a written file");
}
