//! Nodes that do not wait for one another are encoded side by side and hashed together (`braid_keccak`).

use crate::node::Reference;
use alloy_primitives::B256;
use braid_keccak::keccak256_many;

/// Nodes that are encoded before they are hashed: few enough that their RLP stays in the first cache.
const TOGETHER: usize = 64;

/// Nodes by numbers of somebody's own.
pub(crate) trait Level {
    /// Appends the RLP of a node, of which all that stands below it is known.
    fn encode(&mut self, node: u32, out: &mut Vec<u8>);

    /// Takes what is said of a node.
    fn say(&mut self, node: u32, said: Reference);
}

/// Memory for nodes that are hashed together.
#[derive(Debug, Default)]
pub(crate) struct Together {
    rlp: Vec<u8>,
    /// Nodes, and where the RLP of each ends.
    ends: Vec<(u32, usize)>,
}

impl Together {
    /// Finds out what is said of nodes that do not wait for one another.
    pub(crate) fn settle(&mut self, nodes: &[u32], of: &mut impl Level) {
        for nodes in nodes.chunks(TOGETHER) {
            self.rlp.clear();
            self.ends.clear();
            for node in nodes {
                of.encode(*node, &mut self.rlp);
                self.ends.push((*node, self.rlp.len()));
            }
            self.say(of);
        }
    }

    fn say(&self, of: &mut impl Level) {
        let (mut long, mut count, mut start) = ([(0u32, &self.rlp[..0]); TOGETHER], 0, 0);
        for (node, end) in &self.ends {
            let rlp = &self.rlp[start..*end];
            start = *end;
            if rlp.len() < 32 {
                of.say(*node, Reference::of_rlp(rlp));
            } else {
                long[count] = (*node, rlp);
                count += 1;
            }
        }
        let mut hashes = [B256::ZERO; TOGETHER];
        let messages: [&[u8]; TOGETHER] = long.map(|(_, rlp)| rlp);
        keccak256_many(&messages[..count], &mut hashes[..count]);
        for ((node, _), hash) in long[..count].iter().zip(&hashes) {
            of.say(*node, Reference::hash(*hash));
        }
    }
}
