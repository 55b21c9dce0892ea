//! A set of 64-bit keys with a few flags each that forgets the oldest: two generations of open addressing.
//!
//! Keys are keyed hashes, so nobody outside can make them collide; two different ones are taken for the same with a
//! probability of about 2⁻⁴⁶ per look-up. The upper 56 bits of a slot are the key's, the lower 8 its flags; a slot
//! without flags is free. What is written goes to the young generation; when that has taken its share, it becomes the
//! old one, and the old one is forgotten.

/// Flags of a key; 0 means that the key is not there.
pub type Flags = u8;

const FLAG_BITS: u32 = 8;
const FLAG_MASK: u64 = 0xff;
const SMALLEST: usize = 1024;

/// The set.
#[derive(Debug)]
pub struct Table {
    young: Generation,
    old: Generation,
}

impl Default for Table {
    fn default() -> Self {
        Table { young: Generation::new(SMALLEST), old: Generation::new(1) }
    }
}

impl Table {
    /// The flags of `key`.
    pub fn get(&self, key: u64) -> Flags {
        match self.young.get(key) {
            0 => self.old.get(key),
            flags => flags,
        }
    }

    /// Changes the flags of `key`, which is then among the youngest. `known` are the flags that [`Table::get`] gave for it
    /// since the last rotation; others may have changed it after that. `change` must not return 0.
    pub fn update(&mut self, key: u64, known: Flags, change: impl FnOnce(Flags) -> Flags) {
        self.young.update(key, |flags| change(if flags == 0 { known } else { flags }));
    }

    /// Starts a new generation.
    pub fn rotate(&mut self) {
        let next = Generation::new(self.young.slots.len());
        self.old = std::mem::replace(&mut self.young, next);
    }

    /// How many bytes the slots take.
    pub fn bytes(&self) -> usize {
        (self.young.slots.len() + self.old.slots.len()) * size_of::<u64>()
    }
}

#[derive(Debug)]
struct Generation {
    /// A power of two of them, so that a mask finds the place.
    slots: Vec<u64>,
    used: usize,
}

impl Generation {
    fn new(slots: usize) -> Self {
        Generation { slots: vec![0; slots.next_power_of_two()], used: 0 }
    }

    fn get(&self, key: u64) -> Flags {
        let (_, slot) = self.find(key);
        (slot & FLAG_MASK) as Flags
    }

    fn update(&mut self, key: u64, change: impl FnOnce(Flags) -> Flags) {
        // At three quarters full a probe still ends after a few steps.
        if self.used >= self.slots.len() / 4 * 3 {
            self.grow();
        }
        let (place, slot) = self.find(key);
        if slot == 0 {
            self.used += 1;
        }
        let flags = change((slot & FLAG_MASK) as Flags);
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = (key & !FLAG_MASK) | u64::from(flags);
        }
    }

    /// Where `key` is, or the free slot where it belongs. There is always a free one.
    fn find(&self, key: u64) -> (usize, u64) {
        let mask = self.slots.len() - 1;
        let mut place = (key >> FLAG_BITS) as usize & mask;
        while let Some(&slot) = self.slots.get(place) {
            if slot == 0 || (slot ^ key) & !FLAG_MASK == 0 {
                return (place, slot);
            }
            place = (place + 1) & mask;
        }
        (0, 0)
    }

    fn grow(&mut self) {
        let mut larger = Generation::new((self.slots.len() * 2).max(SMALLEST));
        for slot in self.slots.iter().filter(|slot| **slot != 0) {
            larger.update(*slot, |_| (slot & FLAG_MASK) as Flags);
        }
        *self = larger;
    }
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
        assert!(table.bytes() < 10_000);
        for n in 0..100_000 {
            table.update(key(n), 0, |_| 1);
        }
        assert!(table.bytes() <= 100_000 * 8 * 3);
    }
}
