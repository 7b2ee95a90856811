use super::*;

/// A small one of each.
const SMALL: [&str; 10] = [
    "transfers?txs=50",
    "transfers?txs=50&zipf=1.2&hot=10",
    "erc20?txs=50&holders=20&tokens=2",
    "erc20?txs=50&holders=20&tokens=2&families=4&cold=20&zipf=1",
    "swaps?txs=50&pools=3&traders=20&zipf=1",
    "mint?txs=50&collections=2&minters=20",
    "orderbook?txs=50&markets=2&traders=10",
    "compute?txs=50&work=60000",
    "mainnet?txs=50&era=2026",
    "mainnet?txs=50&era=2022",
];

fn generate(text: &str) -> Case {
    text.parse::<Workload>().and_then(|workload| workload.generate()).expect(text)
}

#[test]
fn workloads_are_reproducible_and_the_seed_matters() {
    let hostile = Hostile::ALL.map(|kind| format!("hostile?kind={kind}&txs=50"));
    for name in SMALL.iter().map(|text| (*text).to_owned()).chain(hostile) {
        let [one, two, other] = [1, 1, 2].map(|seed| generate(&format!("{name}&seed={seed}")));
        assert_eq!(one.input.txs.len(), 50);
        assert_eq!(one.input.txs, two.input.txs);
        assert_eq!(one.pre.map(|pre| pre.state_root()), two.pre.map(|pre| pre.state_root()), "{name}");
        assert_ne!(one.input.txs, other.input.txs, "{name}");
    }
}

#[test]
fn states_are_within_what_is_promised() {
    for text in SMALL {
        let workload: Workload = text.parse().expect(text);
        let pre = generate(text).pre.expect("a state");
        let size = pre.store.iter().count() as u64;
        // Contracts, their code and their few slots are on top.
        assert!(size <= workload.locations() + 100, "{text}: {size} and not {}", workload.locations());
    }
}

#[test]
fn a_sample_has_no_text_that_is_refused() {
    assert_eq!(sample().len(), 7);
}
