//! Access lists (EIP-7928) of the blocks of a run, as files.

use crate::{engines::Engines, json::Problem, record::replace, world::Case};
use alloy_primitives::B256;
use braid_core::Control;
use braid_evm::{access_list_hash, access_list_rlp};
use braid_profiles::Profile;
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Longest name of a file that a block's name makes.
const MAX_NAME: usize = 120;

/// Records the list of a block under one profile, and writes it into `folder`. Its hash and its bytes.
///
/// # Errors
/// If the profile records none, the block fails, or the file cannot be written.
pub(crate) fn write(
    engines: &mut Engines,
    (profile, threads): (&Profile, usize),
    case: &dyn Case,
    control: &Control<'_>,
    folder: &Path,
    name: &str,
) -> Result<(B256, usize), Problem> {
    let problem = |file: Option<&Path>, message: String| Problem {
        kind: "access_list".to_owned(),
        file: file.map(|file| file.display().to_string()),
        item: None,
        message,
    };
    let engine = engines.get(profile, threads).map_err(|error| problem(None, error.to_string()))?;
    let recorded =
        catch_unwind(AssertUnwindSafe(|| engine.execute_recorded(case.input(), case.pre(), control)));
    let recorded = recorded.map_err(|_| problem(None, "engine panicked".to_owned()))?;
    let none = || problem(None, format!("profile `{}` records no access lists", profile.name));
    let (_, list) = recorded.ok_or_else(none)?.map_err(|error| problem(None, error.to_string()))?;
    let bytes = access_list_rlp(&list);
    let path = folder.join(file_name(name));
    let written = fs::create_dir_all(folder).and_then(|()| replace(&path, &bytes));
    written.map_err(|error| problem(Some(&path), format!("{}: {error}", path.display())))?;
    Ok((access_list_hash(&list), bytes.len()))
}

/// The name of a block as one of a file.
fn file_name(name: &str) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || "-._".contains(char) { char } else { '_' };
    let name: String = name.trim_start_matches(['.', '/']).chars().map(plain).collect();
    // The end tells more than the folders in front of it.
    let start = name.len().saturating_sub(MAX_NAME);
    format!("{}.rlp", &name[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_blocks_become_names_of_files() {
        assert_eq!(file_name("data/mainnet/15274915"), "data_mainnet_15274915.rlp");
        assert_eq!(file_name("erc20?txs=10&holders=5"), "erc20_txs_10_holders_5.rlp");
        assert_eq!(file_name("../../etc"), "etc.rlp");
        assert_eq!(file_name(&"é/".repeat(300)).len(), MAX_NAME + 4);
    }
}
