//! The target that this binary is named after, under libFuzzer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let name = env!("CARGO_BIN_NAME");
    match braid_fuzz::target_named(name) {
        Some(target) => (target.run)(data),
        None => unreachable!("no target {name}"),
    }
});
