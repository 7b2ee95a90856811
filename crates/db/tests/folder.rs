//! Folders that a process left when it died.

use braid_db::{DataFolder, DataReader};
use braid_store::disk::DiskOptions;
use braid_work::PreState;
use std::fs;

fn options() -> DiskOptions {
    DiskOptions { segment_bytes: 1 << 16, journal_bytes: 1 << 20, workers: 1, ..DiskOptions::default() }
}

/// The state is there before the archive, which has its name once it is whole.
#[test]
fn an_archive_that_was_being_made_is_made_again() {
    let temp = tempfile::tempdir().unwrap();
    let (archive, draft) = (temp.path().join("archive.redb"), temp.path().join("archive.draft"));
    drop(DataFolder::open_or_create(temp.path(), options()).unwrap());
    assert!(archive.exists() && !draft.exists());
    for left in [None, Some(&b""[..]), Some(&[0; 5000]), Some(b"half of it")] {
        for by_reader in [false, true] {
            fs::remove_file(&archive).unwrap();
            if let Some(left) = left {
                fs::write(&draft, left).unwrap();
            }
            if by_reader {
                assert_eq!(DataReader::open(temp.path(), options()).unwrap().header(0), Ok(None));
            }
            let folder = DataFolder::open(temp.path(), options()).unwrap();
            assert_eq!(folder.verify().unwrap().1, 0);
            assert!(archive.exists() && !draft.exists(), "{left:?}");
        }
    }
    // With a version, an archive that is not there is missed.
    let mut folder = DataFolder::open(temp.path(), options()).unwrap();
    folder.begin_bare(0, &PreState::default()).unwrap();
    drop(folder);
    fs::remove_file(&archive).unwrap();
    assert_eq!(DataFolder::open(temp.path(), options()).unwrap_err().kind(), "archive");
}
