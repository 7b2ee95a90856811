//! Every profile, once, in the order in which they are listed.

use crate::{
    Profile, ProfileError, aptos, artela, bal, bal_hints, braid, lean_engine, megaeth, megaeth_oracle, monad,
    monad_article, pharos, reddio, sealevel, sealevel_oracle, sei, serial,
};

/// All profiles.
pub static PROFILES: &[Profile] = &[
    lean_engine::PROFILE,
    serial::PROFILE,
    monad::PROFILE,
    monad_article::PROFILE,
    aptos::PROFILE,
    megaeth::PROFILE,
    megaeth_oracle::PROFILE,
    pharos::PROFILE,
    artela::PROFILE,
    reddio::PROFILE,
    sei::PROFILE,
    sealevel::PROFILE,
    sealevel_oracle::PROFILE,
    bal::PROFILE,
    bal_hints::PROFILE,
    braid::PROFILE,
];

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
