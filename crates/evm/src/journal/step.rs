//! What a finished transaction does, account by account: for callers who commit transactions one by one.

use super::Journal;
use crate::{AccountDelta, StepAccount, StepFate};
use revm::bytecode::Bytecode;

impl Journal<'_> {
    /// The accounts that the transaction changes, as changes of what stood before it. Comes before
    /// [`Self::write`], and observes what that does.
    pub(crate) fn steps(&mut self) -> Vec<StepAccount> {
        let state_clear = self.state_clear();
        let mut steps = Vec::new();
        // Slots name their account by its position.
        let mut place = vec![None; self.arenas.accounts().len()];
        for (at, place) in place.iter_mut().enumerate() {
            let entry = self.arenas.entry_mut(at as u32);
            if !entry.account.is_touched() {
                continue;
            }
            let (fate, delta) = if entry.account.is_selfdestructed() {
                (StepFate::Destroyed, AccountDelta::default())
            } else if entry.account.is_created() {
                (StepFate::Created, entry.delta())
            } else if state_clear && entry.is_empty() {
                entry.seen.exists = Some(entry.initial.exists);
                if !entry.initial.exists {
                    continue;
                }
                (StepFate::Emptied, AccountDelta::default())
            } else {
                (StepFate::Kept, entry.delta())
            };
            let info = &entry.account.info;
            let code: Option<Bytecode> =
                info.code.clone().filter(|_| info.code_hash != entry.initial.code_hash);
            *place = Some(steps.len());
            steps.push(StepAccount { address: entry.address, fate, delta, code, slots: Vec::new() });
        }
        for slot in &self.arenas.slots {
            if slot.slot.present_value == slot.initial {
                continue;
            }
            let at = slot.account as usize;
            let step = *place[at].get_or_insert_with(|| {
                let address = self.arenas.entry(slot.account).address;
                let (fate, delta) = (StepFate::Kept, AccountDelta::default());
                steps.push(StepAccount { address, fate, delta, code: None, slots: Vec::new() });
                steps.len() - 1
            });
            steps[step].slots.push((slot.key, slot.initial, slot.slot.present_value));
        }
        steps.retain(|step| {
            step.fate != StepFate::Kept || step.delta != AccountDelta::default() || !step.slots.is_empty()
        });
        for (address, credit) in &self.arenas.blind {
            let delta = AccountDelta { credit: *credit, ..AccountDelta::default() };
            let (address, fate) = (*address, StepFate::Kept);
            steps.push(StepAccount { address, fate, delta, code: None, slots: Vec::new() });
        }
        steps
    }
}
