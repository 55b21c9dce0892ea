//! A set of 64-bit keys with a few flags each that forgets the oldest.
//!
//! A key has one bucket, a cache line of eight entries, so that to find it, or to see that it is not there and put it in,
//! costs one cache miss. What a bucket has no place for is in the overflow: a live entry is there only while its bucket is
//! full of live ones. The table begins as nothing but overflow. The buckets double when five eighths of the places are
//! taken; by then one entry in forty is in the overflow.
//!
//! An entry is live in the epoch in which it was last touched and in the one after it. Then it is as good as free, until a
//! key takes its place. Epochs are few and come again: each rotation frees the places of dead entries in an eighth of the
//! buckets, so that none is still there when its epoch comes again.
//!
//! All bits of a key are compared: 52 are in the entry, and the position of its bucket tells the others. Keys are keyed
//! hashes, so nobody outside can make them collide. One that is not there is taken for one of n that are with a
//! probability of n / 2⁶⁴, which is 2⁻⁴⁶ for a quarter of a million.

use super::bucket::{Bucket, EPOCHS, Epochs, Flags, PLACES, POSITION_BITS, State};
use hashbrown::HashTable;
use std::{hint, mem};

/// As few as there can be for their positions to tell what is not in the entries.
const FEWEST_BUCKETS: usize = 1 << POSITION_BITS;

/// So many entries are in the overflow before there are buckets.
const MOST_WITHOUT_BUCKETS: usize = FEWEST_BUCKETS * PLACES / 4;

/// A rotation sweeps one of so many shares of the buckets.
const SHARES: usize = 8;

// An entry is dead in all epochs but two, and in one of those its bucket must be swept.
const _: () = assert!(SHARES <= EPOCHS as usize - 2);

/// The set.
#[derive(Debug, Default)]
pub struct Table {
    /// Their number is 0 or a power of two.
    buckets: Vec<Bucket>,
    /// Live entries only.
    overflow: HashTable<Spilled>,
    epochs: Epochs,
    live: Live,
    next_share: usize,
}

/// How many live entries there are.
#[derive(Debug, Default)]
struct Live {
    young: usize,
    old: usize,
}

/// An entry that its bucket has no place for.
#[derive(Debug)]
struct Spilled {
    key: u64,
    state: State,
}

impl Table {
    /// The flags of `key`.
    pub fn get(&self, key: u64) -> Flags {
        if let Some(bucket) = self.buckets.get(position(key, &self.buckets)) {
            if let Some(place) = bucket.find(key, self.epochs) {
                return bucket.state(place).flags;
            }
            if self.overflow.is_empty() || bucket.free(self.epochs).is_some() {
                return 0;
            }
        }
        self.overflow.find(hash(key), |spilled| spilled.key == key).map_or(0, |spilled| spilled.state.flags)
    }

    /// Changes the flags of `key`, which is then among the youngest; gives those that it had. A key that gets flags of 0
    /// is not there.
    pub fn update(&mut self, key: u64, change: impl FnOnce(Flags) -> Flags) -> Flags {
        let (epochs, position) = (self.epochs, position(key, &self.buckets));
        let has_room = self.live.count() < most_entries(&self.buckets);
        if let Some(bucket) = self.buckets.get_mut(position) {
            if let Some(place) = bucket.find(key, epochs) {
                let before = bucket.state(place);
                bucket.set_state(place, epochs.touched(change(before.flags)));
                self.live.touch(!epochs.is_young(before));
                return before.flags;
            }
            if has_room && let Some(place) = bucket.free(epochs) {
                bucket.put(place, key, epochs.touched(change(0)));
                self.live.young += 1;
                return 0;
            }
        }
        self.update_overflow(key, change)
    }

    /// Starts a new epoch.
    pub fn rotate(&mut self) {
        self.epochs = self.epochs.next();
        self.live = Live { young: 0, old: self.live.young };
        let Table { buckets, overflow, epochs, next_share, .. } = self;
        let share = buckets.len().div_ceil(SHARES).max(1);
        buckets
            .chunks_mut(share)
            .skip(*next_share)
            .take(1)
            .flatten()
            .for_each(|bucket| bucket.sweep(*epochs));
        *next_share = (*next_share + 1) % SHARES;
        // A bucket that was full may have room, and then nobody would look for its keys in the overflow.
        overflow.retain(|Spilled { key, state }| {
            let position = position(*key, buckets);
            let mut is_moved =
                || buckets.get_mut(position).is_some_and(|bucket| bucket.insert(*key, *state, *epochs));
            epochs.is_live(*state) && !is_moved()
        });
    }

    /// Reads the cache line that `key` needs. Reads of several keys do not wait for each other as look-ups do, so that what
    /// is not in the cache comes all at once.
    pub fn fetch(&self, key: u64) {
        hint::black_box(self.buckets.get(position(key, &self.buckets)).map_or(0, Bucket::word));
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>() + self.overflow.allocation_size()
    }

    /// [`Table::update`] of a key that is not in its bucket and has no place there.
    #[cold]
    fn update_overflow(&mut self, key: u64, change: impl FnOnce(Flags) -> Flags) -> Flags {
        let epochs = self.epochs;
        if let Some(spilled) = self.overflow.find_mut(hash(key), |spilled| spilled.key == key) {
            let before = spilled.state;
            spilled.state = epochs.touched(change(before.flags));
            self.live.touch(!epochs.is_young(before));
            return before.flags;
        }
        if self.live.count() >= most_entries(&self.buckets) {
            self.grow();
        }
        self.insert(key, epochs.touched(change(0)));
        self.live.young += 1;
        0
    }

    /// Doubles the buckets.
    fn grow(&mut self) {
        let count = (self.buckets.len() * 2).max(FEWEST_BUCKETS);
        let buckets = mem::replace(&mut self.buckets, vec![Bucket::default(); count]);
        let overflow = mem::take(&mut self.overflow);
        for (position, bucket) in buckets.iter().enumerate() {
            for (key, state) in bucket.entries(self.epochs) {
                self.insert(key | position as u64, state);
            }
        }
        for Spilled { key, state } in overflow {
            self.insert(key, state);
        }
    }

    /// Puts in an entry of a key that has no live one.
    fn insert(&mut self, key: u64, state: State) {
        let (epochs, position) = (self.epochs, position(key, &self.buckets));
        if !self.buckets.get_mut(position).is_some_and(|bucket| bucket.insert(key, state, epochs)) {
            self.overflow.insert_unique(hash(key), Spilled { key, state }, |spilled| hash(spilled.key));
        }
    }
}

impl Live {
    fn count(&self) -> usize {
        self.young + self.old
    }

    /// After an entry was touched.
    fn touch(&mut self, was_old: bool) {
        self.old -= usize::from(was_old);
        self.young += usize::from(was_old);
    }
}

/// Which bucket a key belongs to.
fn position(key: u64, buckets: &[Bucket]) -> usize {
    key as usize & buckets.len().wrapping_sub(1)
}

/// How many live entries there may be before the buckets double.
fn most_entries(buckets: &[Bucket]) -> usize {
    (buckets.len() * (PLACES * 5 / 8)).max(MOST_WITHOUT_BUCKETS)
}

/// What the overflow looks at: keys of one bucket differ in their upper bits only.
fn hash(key: u64) -> u64 {
    key.rotate_right(u64::BITS / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::ops::Range;

    /// The default of `limits.seen_responses`.
    const WINDOW: u64 = 65_536;

    /// A well scattered key.
    fn key(n: u64) -> u64 {
        let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A key of the same bucket for all `n`, as long as there are not too many buckets.
    fn crowded(n: u64) -> u64 {
        key(n) & !0xfffff | 0xabcde
    }

    /// A table with so many keys, flagged 1.
    fn with_keys(count: u64) -> Table {
        let mut table = Table::default();
        (0..count).for_each(|n| assert_eq!(table.update(key(n), |_| 1), 0));
        table
    }

    #[test]
    fn it_agrees_with_a_map() {
        let mut table = Table::default();
        let mut model: HashMap<u64, u8> = HashMap::new();
        for n in 0..100_000_u64 {
            let key = key(n % 30_000);
            let flag = 1 << (n % 8);
            let known = model.entry(key).or_default();
            assert_eq!(table.update(key, |flags| flags | flag), *known);
            *known |= flag;
            if n == 40_000 {
                table.rotate();
            }
        }
        for (key, flags) in &model {
            assert_eq!(table.get(*key), *flags);
        }
        assert_eq!(table.get(key(30_001)), 0);
    }

    /// Flags of each key, and when it was last touched.
    #[test]
    fn it_agrees_with_a_map_through_all_epochs_and_more() {
        let universe: Vec<u64> = (0..15_000).map(key).chain((0..1000).map(crowded)).collect();
        let mut table = Table::default();
        let mut model: HashMap<u64, (u8, u32)> = HashMap::new();
        for epoch in 1..250_u32 {
            // Some epochs touch most keys, some few, some none.
            let touched = match epoch % 7 {
                0 => 0,
                1 => universe.len(),
                n => universe.len() / (n as usize * 10),
            };
            for n in 0..touched as u64 {
                let key = universe[key(n << 32 | u64::from(epoch)) as usize % universe.len()];
                let flag = 1 << (key % 7);
                let known =
                    model.get(&key).filter(|(_, last)| last + 1 >= epoch).map_or(0, |(flags, _)| *flags);
                let next = if known & flag != 0 { 0x80 } else { known | flag };
                assert_eq!(
                    table.update(key, |flags| if flags & flag != 0 { 0x80 } else { flags | flag }),
                    known
                );
                model.insert(key, (next, epoch));
            }
            let alive = |epochs| model.values().filter(|(_, last)| last + epochs >= epoch).count();
            assert_eq!((table.live.young, table.live.count()), (alive(0), alive(1)), "epoch {epoch}");
            table.rotate();
            for key in &universe {
                let known = model.get(key).filter(|(_, last)| *last == epoch).map_or(0, |(flags, _)| *flags);
                assert_eq!(table.get(*key), known, "epoch {epoch}");
            }
        }
    }

    #[test]
    fn keys_that_differ_in_any_one_bit_are_told_apart() {
        for others in [0, 100_000] {
            let mut table = with_keys(others);
            assert_eq!(table.buckets.is_empty(), others == 0);
            let of_bit = |bit: u32| key(others) ^ (1_u64 << bit);
            table.update(key(others), |_| 0xff);
            assert!((0..64).all(|bit| table.get(of_bit(bit)) == 0));
            (0..64).for_each(|bit| assert_eq!(table.update(of_bit(bit), |_| bit as u8 + 1), 0));
            assert!((0..64).all(|bit| table.get(of_bit(bit)) == bit as u8 + 1));
            assert_eq!(table.get(key(others)), 0xff);
        }
    }

    #[test]
    fn what_nobody_touched_for_two_rotations_is_forgotten() {
        for others in [0, 100_000] {
            let mut table = with_keys(others);
            let (one, two) = (key(others), key(others + 1));
            table.update(one, |_| 1);
            table.update(two, |_| 1);
            table.rotate();
            assert_eq!((table.get(one), table.get(two)), (1, 1));
            table.update(two, |flags| flags | 2);
            table.rotate();
            assert_eq!((table.get(one), table.get(two)), (0, 3));
            assert_eq!(table.live.count(), 1);
        }
    }

    #[test]
    fn what_a_bucket_has_no_place_for_is_known_all_the_same() {
        let mut table = with_keys(20_000);
        table.rotate();
        table.rotate();
        let keys: Vec<u64> = (0..30).map(crowded).collect();
        let found = |table: &Table| keys.iter().map(|key| table.get(*key)).collect::<Vec<_>>();
        for (n, key) in (1..).zip(&keys) {
            assert_eq!(table.update(*key, |_| n), 0);
        }
        assert_eq!((table.overflow.len(), table.live.young), (30 - PLACES, 30));
        assert_eq!(found(&table), (1..=30).collect::<Vec<_>>());

        // Those beyond the bucket are touched, so that the bucket has room for some of them when it has forgotten its own.
        table.rotate();
        for (n, key) in (11..).zip(&keys[10..]) {
            assert_eq!(table.update(*key, |flags| flags | 0x80), n);
        }
        assert_eq!((table.live.young, table.live.old), (20, 10));
        table.rotate();
        let touched = |n: u8| if n > 10 { n | 0x80 } else { 0 };
        assert_eq!(found(&table), (1..=30).map(touched).collect::<Vec<_>>());
        assert_eq!((table.overflow.len(), table.live.count()), (20 - PLACES, 20));
        table.rotate();
        assert_eq!(found(&table), [0; 30]);
        assert_eq!((table.overflow.len(), table.live.count()), (0, 0));
    }

    #[test]
    fn it_grows_with_what_is_live_and_keeps_that() {
        let touch = |table: &mut Table, keys: Range<u64>, flag: u8| {
            keys.for_each(|n| assert_eq!(table.update(key(n), |_| flag), 0));
        };
        let mut table = with_keys(50_000);
        table.rotate();
        touch(&mut table, 50_000..100_000, 2);
        let buckets = table.buckets.len();
        table.rotate();
        touch(&mut table, 100_000..500_000, 3);
        assert!(table.buckets.len() > buckets);
        let flags = |n| [0, 2, 3].get(usize::from(n >= 50_000) + usize::from(n >= 100_000)).copied();
        assert!((0..500_000).all(|n| Some(table.get(key(n))) == flags(n)));
        assert_eq!(table.live.count(), 450_000);
        assert!(table.overflow.len() < 450_000 / 40, "{} in the overflow", table.overflow.len());

        // As many in each epoch need no more buckets.
        let buckets = table.buckets.len();
        for epoch in 1..20 {
            table.rotate();
            touch(&mut table, epoch * 1_000_000..epoch * 1_000_000 + 200_000, 1);
        }
        assert_eq!(table.buckets.len(), buckets);
    }

    /// How many bytes the table takes at most, if each sighting brings so many keys.
    fn most_bytes(keys: u64, request: u64) -> usize {
        let (mut table, mut most) = (Table::default(), 0);
        let (mut young, mut next) = (0, 0);
        for _ in 0..8 * WINDOW / request {
            if young >= WINDOW {
                table.rotate();
                young = 0;
            }
            young += request;
            for n in next..next + request * keys {
                table.update(key(n), |_| 1);
            }
            next += request * keys;
            most = most.max(table.bytes());
        }
        most
    }

    #[test]
    fn memory_is_what_is_documented() {
        const MIB: f64 = (1 << 20) as f64;
        assert_eq!(Table::default().bytes(), 0);
        for (keys, request, mib) in [(2, 512, 4.1), (3, 512, 8.1), (5, 512, 8.6), (5, WINDOW - 1, 17.1)] {
            let most = most_bytes(keys, request) as f64 / MIB;
            assert!(
                (mib - 0.1..mib).contains(&most),
                "{keys} keys, {request} sightings a request: {most} MiB"
            );
        }
    }
}
