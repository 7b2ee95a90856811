//! Several processes, and the end of one at any moment.

use crate::{oracle::World, small};
use braid_store::disk::{Batch, DiskError, DiskOptions, DiskReader, DiskStore};
use braid_testkit::Rng;
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Says which of the children below to be, and in which folder.
const CHILD: &str = "BRAID_STORE_CHILD";

/// Version `n` of a world that grows in a known way.
fn worlds(versions: u64) -> impl Iterator<Item = (u64, World, Batch)> {
    let (mut rng, mut world) = (Rng::new(7), World::default());
    (0..versions).map(move |version| {
        let batch = world.change(&mut rng, 40, 12);
        (version, world.clone(), batch)
    })
}

fn child(name: &str, folder: &Path) -> std::process::Child {
    let test = format!("processes::{name}");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &test, "--nocapture", "--test-threads=1"]);
    command.env(CHILD, folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Not a test of its own: commits for ever and says what was acknowledged, until it is killed.
#[test]
fn a_child_that_commits() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let mut store = DiskStore::open(Path::new(&folder), small()).unwrap();
    let next = store.latest().map_or(0, |(version, _)| version + 1);
    for (version, _, batch) in worlds(u64::MAX).skip(next as usize) {
        store.apply(version, &batch).unwrap();
        println!("acknowledged {version}");
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_a_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    drop(DiskStore::create(folder.path(), small()).unwrap());
    let (mut rng, mut acknowledged) = (Rng::new(std::process::id().into()), None);
    for _ in 0..6 {
        let mut child = child("a_child_that_commits", folder.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut more, most) = (0, 1 + rng.below(30));
        for line in lines {
            let line = line.unwrap();
            let Some((_, version)) = line.split_once("acknowledged ") else { continue };
            acknowledged = Some(version.parse::<u64>().unwrap());
            more += 1;
            if more == most {
                let refused = DiskStore::open(folder.path(), small()).unwrap_err();
                assert!(matches!(refused, DiskError::Locked { .. }), "{refused}");
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(more >= most, "the child ended by itself");
        let store = DiskStore::open(folder.path(), small()).unwrap();
        store.verify().unwrap();
        let (version, root) = store.latest().unwrap();
        assert!(Some(version) >= acknowledged && Some(version) <= acknowledged.map(|last| last + 1));
        let (_, world, _) = worlds(version + 1).last().unwrap();
        assert_eq!(root, world.root(), "version {version}");
        acknowledged = Some(version);
    }
}

/// Not a test of its own: takes a lease on version 0, says so, and reads it whenever it is told to.
#[test]
fn a_child_that_reads() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let options = DiskOptions { flat_entries: 0, page_cache_bytes: 0, ..small() };
    let reader = DiskReader::open(Path::new(&folder), options).unwrap();
    let view = reader.view(0, Duration::from_secs(600)).unwrap();
    let (_, world, _) = worlds(1).next().unwrap();
    println!("leased");
    for line in std::io::stdin().lines() {
        drop(line);
        world.compare(&view, "in another process");
        view.renew().unwrap();
        println!("read");
    }
}

#[test]
fn a_reader_of_another_process_keeps_its_version_while_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = DiskStore::create(folder.path(), small()).unwrap();
    let mut batches = worlds(80);
    store.apply(0, &batches.next().unwrap().2).unwrap();
    let mut child = child("a_child_that_reads", folder.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wait = |what: &str| {
        let said = lines.by_ref().any(|line| line.unwrap().contains(what));
        assert!(said, "the child ended before it said {what}");
    };
    wait("leased");
    let mut input = child.stdin.take().unwrap();
    for (version, _, batch) in batches.by_ref().take(60) {
        store.apply(version, &batch).unwrap();
        if version % 10 == 0 {
            std::io::Write::write_all(&mut input, b"\n").unwrap();
            wait("read");
        }
    }
    assert_eq!(store.versions().next().map(|(version, _)| version), Some(0), "it is leased");
    assert_eq!(store.rollback(0), Ok(()), "what is leased may stay");
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut version, batch) = (0, Batch::default());
    while version < 10 {
        version += 1;
        store.apply(version, &batch).unwrap();
    }
    assert_eq!(store.versions().count(), small().keep, "a dead reader's lease is over");
    store.verify().unwrap();
}

#[test]
fn a_lease_that_is_not_renewed_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = DiskStore::create(folder.path(), small()).unwrap();
    for (version, _, batch) in worlds(3) {
        store.apply(version, &batch).unwrap();
    }
    let reader = DiskReader::open(folder.path(), small()).unwrap();
    assert_eq!(reader.versions().unwrap(), store.versions().collect::<Vec<_>>());
    let view = reader.view(1, Duration::ZERO).unwrap();
    assert_eq!(view.account(&crate::oracle::address(1)), Err(DiskError::LeaseExpired(1)));
    assert_eq!(view.renew(), Err(DiskError::LeaseExpired(1)));
    let held = reader.view(1, Duration::from_secs(600)).unwrap();
    assert_eq!(store.rollback(0), Err(DiskError::Pinned(1)));
    worlds(2).last().unwrap().1.compare(&held, "under a lease");
    drop(held);
    assert_eq!(reader.view(9, Duration::ZERO).unwrap_err(), DiskError::NoVersion(9));
}

#[test]
fn a_lease_that_cannot_be_read_is_on_all_versions() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = DiskStore::create(folder.path(), small()).unwrap();
    for (version, _, batch) in worlds(3) {
        store.apply(version, &batch).unwrap();
    }
    let leases = folder.path().join("leases");
    std::fs::create_dir_all(&leases).unwrap();
    let file = std::fs::File::create(leases.join("0")).unwrap();
    file.lock().unwrap();
    assert_eq!(store.rollback(0), Err(DiskError::Pinned(1)));
    assert_eq!(store.prune(1), Ok(0));
    drop(file);
    assert_eq!((store.rollback(1), store.prune(1)), (Ok(()), Ok(1)));
}

#[test]
fn one_process_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = DiskStore::create(folder.path(), small()).unwrap();
    let refused = DiskStore::open(folder.path(), small()).unwrap_err();
    assert!(matches!(refused, DiskError::Locked { .. }), "{refused}");
    let mut store = store;
    store.apply(0, &Batch::default()).unwrap();
    let view = store.view(0).unwrap();
    drop(store);
    let refused = DiskStore::open(folder.path(), small()).unwrap_err();
    assert!(matches!(refused, DiskError::Locked { .. }), "somebody still looks: {refused}");
    drop(view);
    let again = DiskStore::create(folder.path(), small()).unwrap_err();
    assert!(matches!(again, DiskError::Exists { .. }), "{again}");
    let missing = DiskStore::open(&folder.path().join("nowhere"), small()).unwrap_err();
    assert!(matches!(missing, DiskError::Io { .. }), "{missing}");
    assert!(DiskStore::open(folder.path(), small()).is_ok());
}
