//! The chain that a vector names: forks by the name of the network, and its own blob schedule.

use crate::json::Num;
use alloy_eips::{eip4844::DATA_GAS_PER_BLOB, eip7840::BlobParams};
use braid_rules::{ChainSpec, Fork};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The `config` of a vector of EEST.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonConfig {
    chainid: Option<Num<u64>>,
    #[serde(default)]
    blob_schedule: BTreeMap<String, JsonBlobs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonBlobs {
    target: Num<u64>,
    max: Num<u64>,
    base_fee_update_fraction: Num<u64>,
}

/// The chain of `network`, with the chain id and the blob schedules of `config`.
///
/// # Errors
/// If there is no such network or fork, or no such schedule can be.
pub(crate) fn chain(network: &str, config: Option<&JsonConfig>) -> Result<ChainSpec, String> {
    let chain_id = config.and_then(|config| config.chainid).map_or(1, |id| id.0);
    let mut chain = ChainSpec::of_network(network, chain_id).map_err(|unknown| unknown.to_string())?;
    for (name, blobs) in config.iter().flat_map(|config| &config.blob_schedule) {
        let fork = ChainSpec::fork_named(name)
            .ok_or_else(|| format!("blob schedule of an unknown fork `{name:.80}`"))?;
        chain = chain.with_blobs(fork, params(fork, blobs)?);
    }
    Ok(chain)
}

/// EIP-7840: the schedule says three numbers; the others follow from the fork.
fn params(fork: Fork, blobs: &JsonBlobs) -> Result<BlobParams, String> {
    let (target, max, fraction) = (blobs.target.0, blobs.max.0, blobs.base_fee_update_fraction.0);
    if target.max(max) > u64::MAX / DATA_GAS_PER_BLOB || fraction == 0 {
        return Err(format!("blob schedule of {fork:?}: {target}, {max}, {fraction} cannot be"));
    }
    let of_fork = if fork >= Fork::Osaka { BlobParams::osaka() } else { BlobParams::prague() };
    Ok(BlobParams {
        target_blob_count: target,
        max_blob_count: max,
        update_fraction: fraction.into(),
        ..of_fork
    })
}
