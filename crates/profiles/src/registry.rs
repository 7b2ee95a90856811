//! Every profile, once, in the order in which they are listed.

use crate::{Engine, Fidelity, LeanEngine, Profile, ProfileError};

/// All profiles.
pub static PROFILES: &[Profile] = &[Profile {
    name: "lean",
    about: "Plain serial revm, and nothing else of Braid but the decoded inputs. The yardstick, and the \
            oracle.",
    fidelity: Fidelity::Faithful,
    scheduler: "serial",
    parallel: false,
    build: lean,
}];

fn lean(_threads: usize) -> Result<Box<dyn Engine>, ProfileError> {
    Ok(Box::new(LeanEngine))
}

/// The profile called `name`.
///
/// # Errors
/// [`ProfileError::Unknown`], which lists the names there are.
pub fn profile(name: &str) -> Result<&'static Profile, ProfileError> {
    find(PROFILES, name)
}

/// The profile called `name` among `profiles`.
///
/// # Errors
/// [`ProfileError::Unknown`], which lists the names there are.
pub fn find<'a>(profiles: &'a [Profile], name: &str) -> Result<&'a Profile, ProfileError> {
    profiles.iter().find(|profile| profile.name == name).ok_or_else(|| {
        let known: Vec<&str> = profiles.iter().map(|profile| profile.name).collect();
        ProfileError::Unknown { name: name.to_owned(), known: known.join(", ") }
    })
}
