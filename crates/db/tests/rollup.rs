//! The example of the embedding guide does what it says.

#[allow(dead_code, reason = "the example's own entry point is its main")]
#[path = "../examples/rollup.rs"]
mod rollup;

#[test]
fn the_example_runs() {
    rollup::main().expect("an example without errors");
}
