//! `braid db`, told to stop.

use super::{Exit, Folder, braid, braid_with};

#[test]
fn looking_after_a_folder_is_interrupted() {
    let folder = Folder::new();
    let [data, file, other] = ["d", "file", "other"].map(|name| folder.0.join(name).display().to_string());
    for line in [
        format!("run good --profile good --store {data} --commit"),
        format!("db snapshot --data {data} --out {file}"),
    ] {
        assert_eq!(braid(&line).exit, Exit::Ok, "{line}");
    }
    let before = braid(&format!("db stat --data {data} --json")).json()["result"].clone();
    for line in [
        format!("db verify --data {data} --json"),
        format!("db prune --data {data} --keep 1 --json"),
        format!("db snapshot --data {data} --out {other}"),
        format!("db restore {file} --data {other} --json"),
    ] {
        let ran = braid_with(&line, true, None);
        assert_eq!((ran.exit, ran.out.as_str()), (Exit::Interrupted, ""), "{line}: {}", ran.err);
        let mut left: Vec<_> =
            std::fs::read_dir(&folder.0).unwrap().map(|one| one.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["d", "file"], "{line}");
    }
    assert_eq!(braid(&format!("db stat --data {data} --json")).json()["result"], before);
}
