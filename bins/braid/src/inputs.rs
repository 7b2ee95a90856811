//! Inputs as `braid-work` loads and generates them.

use crate::{
    json::Problem,
    world::{Inputs, Refusal, Source},
};

/// The inputs of `braid-work`.
pub(crate) struct Library;

impl Inputs for Library {
    fn resolve(&self, text: &str) -> Result<Vec<Box<dyn Source>>, Refusal> {
        Err(Refusal::Input(Problem {
            kind: "not_found".to_owned(),
            file: Some(text.to_owned()),
            item: None,
            message: format!("{text}: no such input"),
        }))
    }

    fn sample(&self) -> Result<Vec<Box<dyn Source>>, Refusal> {
        Ok(Vec::new())
    }
}
