//! The case that a divergence leaves behind, and the command that runs it again.

use crate::{
    json::{Problem, SCHEMA},
    progress::Ui,
    record::replace,
};
use serde::Serialize;

/// A block on which a parallel engine alone was wrong.
#[derive(Serialize)]
pub(crate) struct Divergence<'a> {
    schema: u32,
    kind: &'static str,
    version: &'static str,
    input: &'a str,
    profile: &'a str,
    threads: usize,
    seed: u64,
    difference: &'a Problem,
    /// The command that runs it again.
    replay: String,
}

impl<'a> Divergence<'a> {
    /// Makes one.
    pub(crate) fn new(
        input: &'a str,
        profile: &'a str,
        threads: usize,
        seed: u64,
        difference: &'a Problem,
    ) -> Self {
        let input_quoted = quote(input);
        let replay =
            format!("braid run {input_quoted} --profile {profile} --threads {threads} --seed {seed}");
        Divergence {
            schema: SCHEMA,
            kind: "braid-divergence",
            version: env!("CARGO_PKG_VERSION"),
            input,
            profile,
            threads,
            seed,
            difference,
            replay,
        }
    }

    /// Of a chain that was streamed.
    pub(crate) fn streamed(mut self) -> Self {
        self.replay.push_str(" --stream");
        self
    }

    /// Writes `diverge-<seed>.json` and prints the replay line. That the file
    /// cannot be written is only a warning: the line says all that is needed.
    pub(crate) fn report(&self, ui: &mut Ui<'_>) {
        let path = ui.folder.join(format!("diverge-{}.json", self.seed));
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        if let Err(error) = replace(&path, &text) {
            ui.warn(format_args!("{}: {error}", path.display()));
        }
        ui.error(format_args!(
            "{} with {} threads diverged on {}: {}",
            self.profile, self.threads, self.input, self.difference.message
        ));
        // Not a hint: it is wanted even if quiet.
        ui.line(format_args!("replay: {}", self.replay));
    }
}

/// `text` as one word of a POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=,:@+".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_of_a_shell() {
        assert_eq!(quote("mainnet/1"), "mainnet/1");
        assert_eq!(quote("transfers?txs=5&seed=1"), "'transfers?txs=5&seed=1'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote(""), "''");
    }
}
