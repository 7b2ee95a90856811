//! What a finished transaction does, account by account: for callers who commit transactions one by one.

use super::Journal;
use crate::{AccountDelta, StepAccount, StepFate};
use smallvec::{SmallVec, smallvec};

impl Journal<'_> {
    /// The accounts that the transaction changes, as changes of what stood before it. Comes before
    /// [`Self::write`], and observes what that does.
    pub(crate) fn steps(&mut self) -> Vec<StepAccount> {
        let state_clear = self.state_clear();
        let mut steps = Vec::with_capacity(self.arenas.accounts().len() + self.arenas.blind.len());
        // Slots name their account by its position: how many it changes, then its place among the steps.
        let mut place: SmallVec<[u32; 32]> = smallvec![0; self.arenas.accounts().len()];
        for slot in &self.arenas.slots {
            place[slot.account as usize] += u32::from(slot.slot.present_value != slot.initial);
        }
        for (at, place) in place.iter_mut().enumerate() {
            let slots = std::mem::replace(place, u32::MAX);
            let entry = self.arenas.entry_mut(at as u32);
            let touched = entry.account.is_touched();
            let (fate, delta) = if !touched {
                (StepFate::Kept, AccountDelta::default())
            } else if entry.account.is_selfdestructed() {
                (StepFate::Destroyed, AccountDelta::default())
            } else if entry.account.is_created() {
                (StepFate::Created, entry.delta())
            } else if state_clear && entry.is_empty() {
                entry.seen.exists = Some(entry.initial.exists);
                let fate = if entry.initial.exists { StepFate::Emptied } else { StepFate::Kept };
                (fate, AccountDelta::default())
            } else {
                (StepFate::Kept, entry.delta())
            };
            if fate == StepFate::Kept && slots == 0 && delta == AccountDelta::default() {
                continue;
            }
            let info = &entry.account.info;
            let code = info.code.clone().filter(|_| touched && info.code_hash != entry.initial.code_hash);
            *place = steps.len() as u32;
            let (address, slots) = (entry.address, Vec::with_capacity(slots as usize));
            steps.push(StepAccount { address, fate, delta, code, slots });
        }
        for slot in &self.arenas.slots {
            if slot.slot.present_value != slot.initial {
                let step = &mut steps[place[slot.account as usize] as usize];
                step.slots.push((slot.key, slot.initial, slot.slot.present_value));
            }
        }
        for (address, credit) in &self.arenas.blind {
            let delta = AccountDelta { credit: *credit, ..AccountDelta::default() };
            let (address, fate) = (*address, StepFate::Kept);
            steps.push(StepAccount { address, fate, delta, code: None, slots: Vec::new() });
        }
        steps
    }
}
