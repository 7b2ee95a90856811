//! Bits that turn over on the device.

use crate::{long, oracle::World, seeds, small};
use braid_store::{
    disk::{DiskError, DiskOptions, DiskStore},
    io::{FaultMedium, Faults, Medium},
};
use braid_testkit::Rng;
use std::sync::Arc;

fn filled(seed: u64, versions: u64) -> (FaultMedium, World) {
    let (mut rng, mut world) = (Rng::new(seed), World::default());
    let medium = FaultMedium::new(seed, Faults::default());
    let mut store = DiskStore::create_on(Arc::new(medium.clone()), small()).unwrap();
    for version in 0..versions {
        store.apply(version, &world.change(&mut rng, 40, 30)).unwrap();
    }
    (medium, world)
}

/// All that can be read of all versions, or the first error.
fn read_all(store: &DiskStore, world: &World) -> Result<(), DiskError> {
    for (version, _) in store.versions() {
        let view = store.view(version)?;
        for (address, (_, slots)) in &world.accounts {
            view.account(address)?;
            for slot in slots.keys() {
                view.slot(address, slot)?;
            }
        }
    }
    Ok(())
}

/// Wherever a bit turns over, a store that opens and verifies has all its versions, roots and values; whatever
/// else happens is an error, not another state.
#[test]
fn a_bit_that_turns_over_is_found_or_does_not_matter() {
    let (mut found, mut harmless) = (0, 0);
    for seed in seeds(6) {
        let (whole, world) = filled(seed, 12);
        let known: Vec<_> = DiskStore::open_on(Arc::new(whole.copy()), small()).unwrap().versions().collect();
        let (len, mut rng) = (whole.len().unwrap(), Rng::new(seed));
        for _ in 0..if long() { 5000 } else { 150 } {
            let bit = rng.below(len * 8);
            let told = format!("bit {bit}; repeat with BRAID_SEED={seed}");
            let medium = whole.copy();
            medium.flip(bit);
            let store = match DiskStore::open_on(Arc::new(medium.clone()), small()) {
                Ok(store) => store,
                Err(DiskError::Damaged { .. }) => {
                    found += 1;
                    continue;
                }
                Err(error) => panic!("{error} {told}"),
            };
            assert_eq!(store.versions().collect::<Vec<_>>(), known, "{told}");
            let (verified, read) = (store.verify(), read_all(&store, &world));
            match (&verified, &read) {
                (Ok(_), Ok(())) => {
                    harmless += 1;
                    let (version, _) = store.latest().unwrap();
                    world.compare(&store.view(version).unwrap(), &told);
                }
                (Err(DiskError::Damaged { .. }), _) => found += 1,
                (Ok(_), Err(error)) => panic!("read but not verified: {error} {told}"),
                (Err(error), _) => panic!("{error} {told}"),
            }
        }
    }
    assert!(found > 50 && harmless > 50, "{found} found, {harmless} harmless: the test is without use");
}

/// Each byte of a page that the latest version reaches.
#[test]
fn damage_is_found_when_it_is_read() {
    let (whole, world) = filled(3, 2);
    let options = DiskOptions { flat_entries: 0, ..small() };
    let (mut told, len) = (0, whole.len().unwrap());
    // The last page of a file is of the last commit, which wrote a new root there.
    for byte in len - 4096..len {
        let medium = whole.copy();
        medium.flip(byte * 8 + byte % 8);
        let store = DiskStore::open_on(Arc::new(medium), options).unwrap();
        let error = read_all(&store, &world).expect_err("a damaged root was read");
        assert!(matches!(error, DiskError::Damaged { what: "page", .. }), "{error}");
        assert!(store.verify().is_err());
        told += 1;
    }
    assert_eq!(told, 4096);
}

#[test]
fn one_damaged_superblock_is_recovered_from_the_other() {
    for versions in [1, 7, 8] {
        let (whole, world) = filled(5, versions);
        for place in 0..2 {
            for byte in [0, 9, 17, 30, 45, 49] {
                let medium = whole.copy();
                medium.flip((place * 4096 + byte) * 8);
                let store = DiskStore::open_on(Arc::new(medium.clone()), small()).unwrap();
                assert_eq!(store.latest(), Some((versions - 1, world.root())), "place {place} byte {byte}");
                store.verify().expect("it is mended as well");
                drop(store);
                medium.flip(((1 - place) * 4096 + byte) * 8);
                let other = DiskStore::open_on(Arc::new(medium), small()).unwrap();
                assert_eq!(other.latest(), Some((versions - 1, world.root())));
            }
        }
        let medium = whole.copy();
        medium.flip(8 * 20);
        medium.flip(8 * (4096 + 20));
        let refused = DiskStore::open_on(Arc::new(medium), small()).unwrap_err();
        assert!(matches!(refused, DiskError::Damaged { what: "superblock", .. }), "{refused}");
    }
}

#[test]
fn a_device_that_cannot_be_read_is_said() {
    let (whole, world) = filled(8, 5);
    let medium = whole.copy();
    let options = DiskOptions { flat_entries: 0, page_cache_bytes: 0, ..small() };
    let store = DiskStore::open_on(Arc::new(medium.clone()), options).unwrap();
    medium.set_faults(Faults { read_error_every: Some(3), ..Faults::default() });
    assert!(matches!(read_all(&store, &world), Err(DiskError::Io { .. })));
    assert!(matches!(store.verify(), Err(DiskError::Io { .. } | DiskError::Damaged { .. })));
    medium.set_faults(Faults::default());
    read_all(&store, &world).unwrap();
    store.verify().unwrap();
}

/// Files of noise, of zeros, and cut short.
#[test]
fn what_is_no_store_is_an_error() {
    let open = |medium: &FaultMedium| DiskStore::open_on(Arc::new(medium.clone()), small());
    for seed in seeds(50) {
        let mut rng = Rng::new(seed);
        let medium = FaultMedium::new(seed, Faults::default());
        let noise: Vec<u8> = (0..rng.below(20_000)).map(|_| rng.bits() as u8).collect();
        medium.write_at(0, &noise).unwrap();
        assert!(open(&medium).is_err(), "repeat with BRAID_SEED={seed}");
        let (whole, _) = filled(seed, 3);
        whole.set_len(rng.below(whole.len().unwrap())).unwrap();
        if let Ok(store) = open(&whole) {
            assert!(store.verify().is_err(), "repeat with BRAID_SEED={seed}");
        }
    }
}

/// A file that was cut behind the journal opens, and what is missing is named by its place.
#[test]
fn a_file_that_ends_too_early_says_where() {
    let (whole, world) = filled(1, 12);
    let len = 2 * 4096 + 2 * small().journal_bytes;
    whole.set_len(len).unwrap();
    let store = DiskStore::open_on(Arc::new(whole.copy()), small()).unwrap();
    for error in [store.verify().unwrap_err(), read_all(&store, &world).unwrap_err()] {
        let DiskError::Damaged { what: "page", at, reason } = &error else { panic!("{error}") };
        assert!(*at >= len && reason == "the file ends before it", "{error}");
    }
    whole.set_len(100).unwrap();
    let error = DiskStore::open_on(Arc::new(whole.copy()), small()).unwrap_err();
    assert!(matches!(&error, DiskError::Damaged { what: "superblock", .. }), "{error}");
}
