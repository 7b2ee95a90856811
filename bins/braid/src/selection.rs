//! The inputs that a command line names, in order.

use crate::{
    Exit,
    json::Problem,
    progress::Ui,
    world::{Inputs, Refusal, Source},
};

/// One block to be, or why there is none.
pub(crate) enum Item {
    /// A block that can be loaded.
    Source(Box<dyn Source>),
    /// A text that names nothing.
    Broken {
        /// The text.
        text: String,
        /// What is wrong.
        problem: Problem,
    },
}

impl Item {
    /// How the item is called.
    pub(crate) fn name(&self) -> String {
        match self {
            Item::Source(source) => source.name(),
            Item::Broken { text, .. } => text.clone(),
        }
    }
}

/// Resolves all inputs; without any, the built-in sample. Nothing is loaded, so a wrong command line is
/// found before work begins.
///
/// # Errors
/// [`Exit::Usage`] if a text is wrong in itself; it has been reported.
pub(crate) fn select(inputs: &dyn Inputs, texts: &[String], ui: &mut Ui<'_>) -> Result<Vec<Item>, Exit> {
    let mut items = Vec::new();
    let mut add = |text: &str, found: Result<Vec<Box<dyn Source>>, Refusal>| match found {
        Ok(sources) => {
            items.extend(sources.into_iter().map(Item::Source));
            Ok(())
        }
        Err(Refusal::Input(problem)) => {
            items.push(Item::Broken { text: text.to_owned(), problem });
            Ok(())
        }
        Err(Refusal::Usage(message)) => {
            ui.error(message);
            Err(Exit::Usage)
        }
    };
    if texts.is_empty() {
        add("sample", inputs.sample())?;
    }
    for text in texts {
        add(text, inputs.resolve(text))?;
    }
    Ok(items)
}
