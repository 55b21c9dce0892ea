//! A set of 64-bit keys with a few flags each that forgets the oldest.
//!
//! What is written goes to the young one of two generations; when that has taken its share, it becomes the old one, and
//! the old one is forgotten. An entry is eight bytes: the upper 56 bits of the key, and its flags. Keys are keyed hashes,
//! so nobody outside can make them collide; two different ones are taken for the same with a probability of about 2⁻⁴⁶
//! per look-up.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Flags of a key; 0 means that the key is not there.
pub type Flags = u8;

const FLAG_BITS: u32 = 8;
const FLAG_MASK: u64 = 0xff;

/// The set.
#[derive(Debug, Default)]
pub struct Table {
    young: HashTable<u64>,
    old: HashTable<u64>,
}

impl Table {
    /// The flags of `key`.
    pub fn get(&self, key: u64) -> Flags {
        let of =
            |generation: &HashTable<u64>| generation.find(hash(key), |entry| is_of(*entry, key)).copied();
        of(&self.young).or_else(|| of(&self.old)).map_or(0, flags)
    }

    /// Changes the flags of `key`, which is then among the youngest. `known` are the flags that [`Table::get`] gave for it
    /// since the last rotation; others may have changed it after that. `change` must not return 0.
    pub fn update(&mut self, key: u64, known: Flags, change: impl FnOnce(Flags) -> Flags) {
        match self.young.entry(hash(key), |entry| is_of(*entry, key), |entry| hash(*entry)) {
            Entry::Occupied(mut entry) => {
                let entry = entry.get_mut();
                *entry = (*entry & !FLAG_MASK) | u64::from(change(flags(*entry)));
            }
            Entry::Vacant(place) => {
                place.insert((key & !FLAG_MASK) | u64::from(change(known)));
            }
        }
    }

    /// Starts a new generation.
    pub fn rotate(&mut self) {
        // The memory of the forgotten one is there already.
        let mut next = std::mem::take(&mut self.old);
        next.clear();
        self.old = std::mem::replace(&mut self.young, next);
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.young.allocation_size() + self.old.allocation_size()
    }
}

/// What the table looks at: of the upper bits the first, of the lower bits the rest.
fn hash(key: u64) -> u64 {
    (key >> FLAG_BITS) ^ (key & 0xff << 56)
}

fn is_of(entry: u64, key: u64) -> bool {
    (entry ^ key) & !FLAG_MASK == 0
}

fn flags(entry: u64) -> Flags {
    (entry & FLAG_MASK) as Flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A well scattered key.
    fn key(n: u64) -> u64 {
        let mut x = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 31;
        x.wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }

    #[test]
    fn it_agrees_with_a_map() {
        let mut table = Table::default();
        let mut model: HashMap<u64, u8> = HashMap::new();
        for n in 0..100_000_u64 {
            let key = key(n % 30_000);
            let flag = 1 << (n % 8);
            table.update(key, table.get(key), |flags| flags | flag);
            *model.entry(key).or_default() |= flag;
            if n == 40_000 {
                table.rotate();
            }
        }
        for (key, flags) in &model {
            assert_eq!(table.get(*key), *flags);
        }
        assert_eq!(table.get(key(30_001)), 0);
    }

    #[test]
    fn keys_that_meet_in_one_slot_are_told_apart() {
        let mut table = Table::default();
        let keys = [0x0100_0000_0000_0500, 0x0200_0000_0000_0500, 0x0300_0000_0000_0500];
        for (n, key) in keys.into_iter().enumerate() {
            table.update(key, 0, |_| n as u8 + 1);
        }
        assert_eq!(keys.map(|key| table.get(key)), [1, 2, 3]);
    }

    #[test]
    fn what_nobody_touched_for_two_rotations_is_forgotten() {
        let mut table = Table::default();
        table.update(key(1), 0, |_| 1);
        table.update(key(2), 0, |_| 1);
        table.rotate();
        assert_eq!((table.get(key(1)), table.get(key(2))), (1, 1));
        table.update(key(2), table.get(key(2)), |flags| flags | 2);
        table.rotate();
        assert_eq!((table.get(key(1)), table.get(key(2))), (0, 3));
    }

    #[test]
    fn memory_follows_what_is_in_it() {
        let mut table = Table::default();
        assert_eq!(table.bytes(), 0);
        for n in 0..100_000 {
            table.update(key(n), 0, |_| 1);
        }
        assert!(table.bytes() <= 100_000 * 8 * 3);
    }
}
