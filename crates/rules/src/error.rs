//! Why a block breaks a rule of its chain.

use crate::Fork;
use alloy_primitives::{Address, B256, U256};
use std::fmt;

/// A field of a header that not every fork has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// EIP-1559, from London on.
    BaseFee,
    /// EIP-4895, from Shanghai on.
    WithdrawalsRoot,
    /// EIP-4844, from Cancun on.
    BlobGasUsed,
    /// EIP-4844, from Cancun on.
    ExcessBlobGas,
    /// EIP-4788, from Cancun on.
    ParentBeaconRoot,
    /// EIP-7685, from Prague on.
    RequestsHash,
    /// EIP-7928, from Amsterdam on.
    BlockAccessListHash,
    /// EIP-7843, from Amsterdam on.
    SlotNumber,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::BaseFee => "baseFeePerGas",
            Field::WithdrawalsRoot => "withdrawalsRoot",
            Field::BlobGasUsed => "blobGasUsed",
            Field::ExcessBlobGas => "excessBlobGas",
            Field::ParentBeaconRoot => "parentBeaconBlockRoot",
            Field::RequestsHash => "requestsHash",
            Field::BlockAccessListHash => "blockAccessListHash",
            Field::SlotNumber => "slotNumber",
        })
    }
}

/// A part of the encoding of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// The block as a whole.
    Block,
    /// Its header.
    Header,
    /// The list of its transactions.
    Transactions,
    /// The transaction at this index.
    Transaction(usize),
    /// The list of its ommers.
    Ommers,
    /// The ommer at this index.
    Ommer(usize),
    /// The list of its withdrawals.
    Withdrawals,
    /// The withdrawal at this index.
    Withdrawal(usize),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Block => f.write_str("block"),
            Item::Header => f.write_str("header"),
            Item::Transactions => f.write_str("list of transactions"),
            Item::Transaction(index) => write!(f, "transaction {index}"),
            Item::Ommers => f.write_str("list of ommers"),
            Item::Ommer(index) => write!(f, "ommer {index}"),
            Item::Withdrawals => f.write_str("list of withdrawals"),
            Item::Withdrawal(index) => write!(f, "withdrawal {index}"),
        }
    }
}

/// Why a block may not follow its parent. One variant a rule; section numbers are those of the Yellow
/// Paper (Shanghai version).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The block, or an item of it, is not the RLP of what it should be (Appendix B, EIP-2718).
    #[error("{item} does not decode: {reason}")]
    Rlp {
        /// The item.
        item: Item,
        /// What is wrong with it.
        reason: String,
    },
    /// EIP-7934: the encoding of a block has at most 8 MiB (10 MiB less a margin of 2), from Osaka on.
    #[error("the block has {got} bytes, at most {limit} are allowed")]
    BlockSize {
        /// Bytes of its encoding.
        got: usize,
        /// Most bytes allowed.
        limit: usize,
    },

    /// The parent is no known valid block (4.4.4, P(H)).
    #[error("unknown parent {hash}")]
    UnknownParent {
        /// The parent's hash.
        hash: B256,
    },
    /// The number is the parent's plus one (4.4.4).
    #[error("number {got} after parent {parent}")]
    Number {
        /// Of the block.
        got: u64,
        /// Of its parent.
        parent: u64,
    },
    /// The time is later than the parent's (4.4.4).
    #[error("timestamp {got} is not after the parent's {parent}")]
    Timestamp {
        /// Of the block, in seconds.
        got: u64,
        /// Of its parent.
        parent: u64,
    },
    /// The gas limit changes by less than 1/1024 of the parent's (4.4.4), which counts twice in the
    /// first block of London (EIP-1559).
    #[error("gas limit {got} is too far from the parent's {parent}")]
    GasLimitChange {
        /// Of the block.
        got: u64,
        /// Of its parent, doubled where London begins.
        parent: u64,
    },
    /// The gas limit is at least 5000 (4.4.4).
    #[error("gas limit {got} is below {least}")]
    GasLimitTooSmall {
        /// Of the block.
        got: u64,
        /// Least allowed.
        least: u64,
    },
    /// The gas limit is at most 2^63 - 1 (EIP-1985, as clients have always had it).
    #[error("gas limit {got} is above {most}")]
    GasLimitTooBig {
        /// Of the block.
        got: u64,
        /// Most allowed.
        most: u64,
    },
    /// No more gas is used than the limit allows (4.4.4).
    #[error("gas used {got} is above the limit {limit}")]
    GasUsedOverLimit {
        /// As the header says.
        got: u64,
        /// Gas limit of the block.
        limit: u64,
    },
    /// Extra data have at most 32 bytes (4.4.4).
    #[error("{got} bytes of extra data, at most {limit} are allowed")]
    ExtraDataTooLong {
        /// Bytes there are.
        got: usize,
        /// Most allowed.
        limit: usize,
    },
    /// EIP-779: the first ten blocks of the DAO fork carry `dao-hard-fork` as extra data.
    #[error("extra data of block {number} are not those of the DAO fork")]
    DaoExtraData {
        /// Number of the block.
        number: u64,
    },
    /// The difficulty follows from the parent (4.4.4, EIP-2, EIP-100, EIP-649 and its followers).
    #[error("difficulty {got}, expected {expected}")]
    Difficulty {
        /// As the header says.
        got: U256,
        /// As the parent demands.
        expected: U256,
    },
    /// EIP-3675: no difficulty from the Merge on.
    #[error("difficulty {got} after the Merge")]
    DifficultyAfterMerge {
        /// As the header says.
        got: U256,
    },
    /// EIP-3675: the nonce is zero from the Merge on.
    #[error("nonce {got:#x} after the Merge")]
    NonceAfterMerge {
        /// As the header says.
        got: u64,
    },
    /// EIP-3675: no ommers from the Merge on.
    #[error("ommers after the Merge")]
    OmmersAfterMerge,
    /// The fork demands a field that the header lacks.
    #[error("{field} is missing in a block of {fork:?}")]
    FieldMissing {
        /// The field.
        field: Field,
        /// Fork in force.
        fork: Fork,
    },
    /// The header has a field that the fork does not know.
    #[error("{field} in a block of {fork:?}, which has none")]
    FieldTooEarly {
        /// The field.
        field: Field,
        /// Fork in force.
        fork: Fork,
    },
    /// EIP-1559: the base fee follows from the parent.
    #[error("base fee {got}, expected {expected}")]
    BaseFee {
        /// As the header says, in wei.
        got: u64,
        /// As the parent demands.
        expected: u64,
    },
    /// EIP-4844, EIP-7691, EIP-7892, EIP-7918: the excess blob gas follows from the parent.
    #[error("excess blob gas {got}, expected {expected}")]
    ExcessBlobGas {
        /// As the header says.
        got: u64,
        /// As the parent demands.
        expected: u64,
    },
    /// EIP-4844: no more blob gas is used than the fork allows.
    #[error("blob gas used {got} is above the limit {limit}")]
    BlobGasOverLimit {
        /// As the header says.
        got: u64,
        /// Most allowed.
        limit: u64,
    },
    /// The excess blob gas is so large that the price of blobs, which is exponential in it, is beyond
    /// anything payable. No valid chain comes there.
    #[error("excess blob gas {excess} gives no price")]
    BlobPrice {
        /// Excess blob gas of the block.
        excess: u64,
    },

    /// The root of the transactions is the header's (4.4.2).
    #[error("transactions root {got}, the header has {header}")]
    TransactionsRoot {
        /// Of the transactions.
        got: B256,
        /// As the header says.
        header: B256,
    },
    /// The hash of the ommers is the header's (4.4.2).
    #[error("ommers hash {got}, the header has {header}")]
    OmmersHash {
        /// Of the ommers.
        got: B256,
        /// As the header says.
        header: B256,
    },
    /// EIP-4895: the root of the withdrawals is the header's.
    #[error("withdrawals root {got}, the header has {header}")]
    WithdrawalsRoot {
        /// Of the withdrawals.
        got: B256,
        /// As the header says.
        header: B256,
    },
    /// EIP-4895: a body has withdrawals from Shanghai on, and none before.
    #[error("withdrawals are {}", if *got { "not known yet" } else { "missing" })]
    Withdrawals {
        /// Whether the body has them.
        got: bool,
    },
    /// EIP-4844: the blob gas used is that of the blobs of the transactions.
    #[error("the blobs use {got} blob gas, the header has {header}")]
    BlobGasUsed {
        /// Of the transactions.
        got: u64,
        /// As the header says.
        header: u64,
    },
    /// A transaction type that the fork does not know (EIP-2930, EIP-1559, EIP-4844, EIP-7702).
    #[error("transaction {tx} of type {ty} before the fork that knows it")]
    TxType {
        /// Index of the transaction.
        tx: usize,
        /// Its type.
        ty: u8,
    },
    /// EIP-155: signatures name a chain from Spurious Dragon on only.
    #[error("transaction {tx} is signed for a chain before forks know that")]
    ReplayProtection {
        /// Index of the transaction.
        tx: usize,
    },
    /// No sender can be recovered from a signature (Appendix F, EIP-2 for a high `s`).
    #[error("transaction {tx} has no sender: {reason}")]
    Signature {
        /// Index of the transaction.
        tx: usize,
        /// Why.
        reason: String,
    },

    /// At most two ommers (11.1).
    #[error("{got} ommers, at most {limit} are allowed")]
    TooManyOmmers {
        /// How many there are.
        got: usize,
        /// How many there may be.
        limit: usize,
    },
    /// An ommer is included once in a chain (11.1).
    #[error("ommer {hash} is already included")]
    OmmerIncluded {
        /// Its hash.
        hash: B256,
    },
    /// An ommer is no ancestor of the block, nor the block (11.1).
    #[error("ommer {hash} is an ancestor")]
    OmmerIsAncestor {
        /// Its hash.
        hash: B256,
    },
    /// The parent of an ommer is an ancestor of the block's parent, at most six generations up (11.1).
    #[error("parent {parent} of ommer {hash} is no ancestor near enough")]
    OmmerParent {
        /// Its hash.
        hash: B256,
        /// Hash of its parent.
        parent: B256,
    },
    /// The header of an ommer is valid (11.1).
    #[error("ommer {hash}: {error}")]
    OmmerHeader {
        /// Its hash.
        hash: B256,
        /// What is wrong with it.
        error: Box<RuleError>,
    },

    /// The gas used by the transactions is the header's (4.4.4).
    #[error("gas used {got}, the header has {header}")]
    GasUsed {
        /// By the transactions.
        got: u64,
        /// As the header says.
        header: u64,
    },
    /// The root of the receipts is the header's (4.4.2), from Byzantium on.
    #[error("receipts root {got}, the header has {header}")]
    ReceiptsRoot {
        /// Of the receipts.
        got: B256,
        /// As the header says.
        header: B256,
    },
    /// The bloom filter of the logs is the header's (4.4.2).
    #[error("the bloom filter of the logs is not the header's")]
    LogsBloom,
    /// EIP-7685: the hash of the requests is the header's, from Prague on.
    #[error("requests hash {got}, the header has {header}")]
    RequestsHash {
        /// Of the requests.
        got: B256,
        /// As the header says.
        header: B256,
    },
    /// The root of the state after the block is the header's (4.4.2).
    #[error("state root {got}, the header has {header}")]
    StateRoot {
        /// Of the state.
        got: B256,
        /// As the header says.
        header: B256,
    },
    /// There is one sender for each transaction.
    #[error("{senders} senders for {txs} transactions, the last of them {last:?}")]
    Senders {
        /// Senders given.
        senders: usize,
        /// Transactions of the block.
        txs: usize,
        /// The last sender.
        last: Option<Address>,
    },
}

impl RuleError {
    /// A stable name for the rule, in snake case. That of an ommer's header is that of the rule which
    /// the header breaks; those of transactions are the ones that [`braid_evm::EvmError::kind`] has for
    /// the same rule.
    pub fn kind(&self) -> &'static str {
        use RuleError as E;
        match self {
            E::Rlp { .. } => "rlp",
            E::BlockSize { .. } => "block_size",
            E::UnknownParent { .. } => "unknown_parent",
            E::Number { .. } => "number",
            E::Timestamp { .. } => "timestamp",
            E::GasLimitChange { .. } => "gas_limit_change",
            E::GasLimitTooSmall { .. } => "gas_limit_too_small",
            E::GasLimitTooBig { .. } => "gas_limit_too_big",
            E::GasUsedOverLimit { .. } => "gas_used_over_limit",
            E::ExtraDataTooLong { .. } => "extra_data_too_long",
            E::DaoExtraData { .. } => "dao_extra_data",
            E::Difficulty { .. } => "difficulty",
            E::DifficultyAfterMerge { .. } => "difficulty_after_merge",
            E::NonceAfterMerge { .. } => "nonce_after_merge",
            E::OmmersAfterMerge => "ommers_after_merge",
            E::FieldMissing { field, .. } => missing(*field),
            E::FieldTooEarly { field, .. } => too_early(*field),
            E::BaseFee { .. } => "base_fee",
            E::ExcessBlobGas { .. } => "excess_blob_gas",
            E::BlobGasOverLimit { .. } => "blob_gas_over_limit",
            E::BlobPrice { .. } => "blob_price",
            E::TransactionsRoot { .. } => "transactions_root",
            E::OmmersHash { .. } => "ommers_hash",
            E::WithdrawalsRoot { .. } => "withdrawals_root",
            E::Withdrawals { got: true } => "withdrawals_too_early",
            E::Withdrawals { got: false } => "withdrawals_missing",
            E::BlobGasUsed { .. } => "blob_gas_used",
            E::TxType { ty: 1, .. } => "eip2930_not_supported",
            E::TxType { ty: 2, .. } => "eip1559_not_supported",
            E::TxType { ty: 3, .. } => "eip4844_not_supported",
            E::TxType { ty: 4, .. } => "eip7702_not_supported",
            E::TxType { .. } => "tx_type_not_supported",
            E::ReplayProtection { .. } => "replay_protection_not_supported",
            E::Signature { .. } => "signature",
            E::TooManyOmmers { .. } => "too_many_ommers",
            E::OmmerIncluded { .. } => "ommer_included",
            E::OmmerIsAncestor { .. } => "ommer_is_ancestor",
            E::OmmerParent { .. } => "ommer_parent",
            E::OmmerHeader { error, .. } => error.kind(),
            E::GasUsed { .. } => "gas_used",
            E::ReceiptsRoot { .. } => "receipts_root",
            E::LogsBloom => "logs_bloom",
            E::RequestsHash { .. } => "requests_hash",
            E::StateRoot { .. } => "state_root",
            E::Senders { .. } => "senders",
        }
    }
}

fn missing(field: Field) -> &'static str {
    match field {
        Field::BaseFee => "base_fee_missing",
        Field::WithdrawalsRoot => "withdrawals_root_missing",
        Field::BlobGasUsed => "blob_gas_used_missing",
        Field::ExcessBlobGas => "excess_blob_gas_missing",
        Field::ParentBeaconRoot => "parent_beacon_root_missing",
        Field::RequestsHash => "requests_hash_missing",
        Field::BlockAccessListHash => "block_access_list_hash_missing",
        Field::SlotNumber => "slot_number_missing",
    }
}

fn too_early(field: Field) -> &'static str {
    match field {
        Field::BaseFee => "base_fee_too_early",
        Field::WithdrawalsRoot => "withdrawals_root_too_early",
        Field::BlobGasUsed => "blob_gas_used_too_early",
        Field::ExcessBlobGas => "excess_blob_gas_too_early",
        Field::ParentBeaconRoot => "parent_beacon_root_too_early",
        Field::RequestsHash => "requests_hash_too_early",
        Field::BlockAccessListHash => "block_access_list_hash_too_early",
        Field::SlotNumber => "slot_number_too_early",
    }
}
