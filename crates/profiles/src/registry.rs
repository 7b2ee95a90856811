//! Every profile, once, in the order in which they are listed.

use crate::{
    Profile, ProfileError, aptos, artela, bal, braid, lean_engine, megaeth, megaeth_actors, megaeth_oracle,
    monad, monad_article, pharos, reddio, sealevel, sealevel_oracle, sei, serial,
};

/// All profiles whose result is Ethereum's.
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
    braid::PROFILE,
];

/// Profiles with rules of their own: their result is not Ethereum's, by design, and what they are held against is
/// their engine's own oracle ([`Engine::oracle`](crate::Engine::oracle)). They run if they are named, and only then.
pub static OWN_RULES: &[Profile] = &[megaeth_actors::PROFILE];

/// The profile called `name`, of those whose result is Ethereum's.
///
/// # Errors
/// [`ProfileError::Unknown`], which lists the names there are.
pub fn profile(name: &str) -> Result<&'static Profile, ProfileError> {
    find(PROFILES, name)
}

/// The profile called `name` among `profiles` and, after them, `others`.
///
/// # Errors
/// [`ProfileError::Unknown`], which lists the names there are.
pub fn find_any<'a>(
    profiles: &'a [Profile],
    others: &'a [Profile],
    name: &str,
) -> Result<&'a Profile, ProfileError> {
    let mut all = profiles.iter().chain(others);
    all.clone().find(|profile| profile.name == name).ok_or_else(|| {
        let first = all.next().map(|profile| profile.name.to_owned()).unwrap_or_default();
        let known = all.fold(first, |known, profile| format!("{known}, {}", profile.name));
        ProfileError::Unknown { name: name.to_owned(), known }
    })
}

/// The profile called `name` among `profiles`.
///
/// # Errors
/// [`ProfileError::Unknown`], which lists the names there are.
pub fn find<'a>(profiles: &'a [Profile], name: &str) -> Result<&'a Profile, ProfileError> {
    find_any(profiles, &[], name)
}
