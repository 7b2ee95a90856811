//! Access lists (EIP-7928) of the fork after Osaka: encoding, order and hash of what is recorded are the
//! fixture's, wherever the pinned machine charges the gas of the fixture.

use braid_testkit::data;
use braid_vectors::{Class, Event, Options, Plan, Runner, Seats, Take, run_archive};
use std::time::Duration;

#[test]
fn lists_are_the_fixtures_where_the_gas_is() {
    let Some(path) = data().map(|data| data.join("ethereum/tests/eest_blockchain_amsterdam.tar.zst")) else {
        return;
    };
    if !path.exists() {
        eprintln!("SKIPPED: no vectors at {}", path.display());
        return;
    }
    let profiles = ["lean", "serial", "bal"].map(|name| braid_profiles::profile(name).unwrap());
    let options = Options { shuffle: None, deadline: Duration::from_secs(300), cancel: None };
    let mut runners = [Runner::new(Seats::new(&profiles, &[2]).unwrap(), options)];
    let plan = Plan { take: Take::All, seed: 0, filter: None, cancel: None };
    let (mut matching, mut wrong) = (0, Vec::new());
    let ended = run_archive(&path, &plan, &mut runners, &mut |event| match event {
        Event::Unreadable(error) => wrong.push(error.to_string()),
        Event::Done(done) => {
            let reports = done.verdict.reported.iter().filter(|(class, _)| *class == Class::AccessList);
            for (_, failed) in reports {
                match failed {
                    None => matching += 1,
                    Some(reason) => wrong.push(format!("{}::{}: {reason}", done.file, done.name)),
                }
            }
            let failed = done.verdict.failures.iter();
            wrong.extend(failed.map(|failure| format!("{}: {}", done.name, failure.reason)));
        }
    });
    wrong.extend(ended.err().map(|error| error.to_string()));
    eprintln!("{matching} cases with matching lists");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), wrong.len() + matching, wrong.join("\n"));
    assert!(matching >= 100, "only {matching} cases");
}
