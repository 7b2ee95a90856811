//! `braid profiles`: what there is to choose from.

use crate::{
    Exit,
    args::ProfilesArgs,
    json::{ProfileEntry, ProfilesDocument, SCHEMA},
    progress::Ui,
    render,
    world::World,
};
use braid_profiles::{Fidelity, Profile, find_any};

/// Carries the command out.
pub(crate) fn list(args: &ProfilesArgs, world: &World<'_>, ui: &mut Ui<'_>) -> Exit {
    let chosen: Vec<&Profile> =
        match args.name.as_deref().map(|name| find_any(world.profiles, world.own_rules, name)) {
            None => world.profiles.iter().chain(world.own_rules).collect(),
            Some(Ok(one)) => vec![one],
            Some(Err(error)) => {
                ui.error(error);
                return Exit::Usage;
            }
        };
    let profiles: Vec<ProfileEntry> = chosen.into_iter().map(entry).collect();
    if args.json {
        ui.result(&crate::to_json(&ProfilesDocument { schema: SCHEMA, command: "profiles", profiles }));
    } else {
        ui.result(&render::profiles(&profiles, ui.color_out));
        ui.hint("braid compare");
    }
    Exit::Ok
}

fn entry(profile: &Profile) -> ProfileEntry {
    ProfileEntry {
        name: profile.name,
        scheduler: profile.scheduler,
        fidelity: match profile.fidelity {
            Fidelity::Model => "model",
            Fidelity::Faithful => "faithful",
            Fidelity::Conformant => "conformant",
        },
        parallel: profile.parallel,
        article: profile.article,
        real: profile.real,
        about: profile.about,
        limits: profile.limits,
    }
}
