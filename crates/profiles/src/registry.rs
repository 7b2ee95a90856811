//! Every profile, once, in the order in which they are listed.

use crate::{Profile, ProfileError, aptos, bal, braid, lean_engine, monad, serial};

/// All profiles.
pub static PROFILES: &[Profile] =
    &[lean_engine::PROFILE, serial::PROFILE, monad::PROFILE, aptos::PROFILE, bal::PROFILE, braid::PROFILE];

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
