//! The example of the embedding guide does what it says.

#[allow(dead_code, reason = "the example's own entry point is its main")]
#[path = "../examples/embed.rs"]
mod embed;

#[test]
fn the_example_runs() {
    embed::main().expect("an example without errors");
}
