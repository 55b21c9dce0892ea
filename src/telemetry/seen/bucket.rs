//! One cache line of the table: eight entries.

/// Flags of a key; 0 means that the key is not there.
pub type Flags = u8;

/// How many entries a bucket holds.
pub const PLACES: usize = 8;

/// The lowest bits of a key, which are not in its entry: the position of its bucket tells them.
pub const POSITION_BITS: u32 = 12;

/// There are so many epochs, then they begin anew. A free place has epoch 0.
pub const EPOCHS: u8 = 15;

/// Of a stamp the bits that are the epoch's; the others are the key's.
const EPOCH_MASK: u8 = 0x0f;

/// What a byte is multiplied with to stand in each of eight.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The highest bit of each of eight bytes.
const HIGHEST: u64 = EACH << 7;

/// What is known of a key: its flags, and when it was last touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub epoch: u8,
    pub flags: Flags,
}

/// Which entries are live: those of this epoch, which are young, and those of the one before, which are old.
#[derive(Clone, Copy, Debug)]
pub struct Epochs {
    young: u8,
    old: u8,
}

/// Eight entries: of each 52 bits of its key, and its state. Those that are not live are as good as free. What is looked
/// through lies together, so that all eight are compared at once.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub struct Bucket {
    /// The next 16 bits of the key above those of the position.
    tags: [u16; PLACES],
    /// The highest four bits of the key, then the epoch.
    stamps: [u8; PLACES],
    flags: [Flags; PLACES],
    /// The bits of the key between the others.
    middles: [u32; PLACES],
}

/// One of the places of a bucket.
#[derive(Clone, Copy, Debug)]
pub struct Place(usize);

impl Epochs {
    /// Those after these.
    pub fn next(self) -> Self {
        Epochs { young: self.young % EPOCHS + 1, old: self.young }
    }

    /// The state of a key that is touched now.
    pub fn touched(self, flags: Flags) -> State {
        State { epoch: self.young, flags }
    }

    pub fn is_young(self, state: State) -> bool {
        state.epoch == self.young
    }

    pub fn is_live(self, state: State) -> bool {
        state.epoch == self.young || state.epoch == self.old
    }
}

impl Default for Epochs {
    fn default() -> Self {
        Epochs { young: 1, old: EPOCHS }
    }
}

impl Bucket {
    /// Where the live entry of `key` is.
    pub fn find(&self, key: u64, epochs: Epochs) -> Option<Place> {
        let (tag, middle, upper) = parts(key);
        // Most keys are not there, and this is the quickest way to see it.
        if self.tags.iter().fold(true, |differ, known| differ & (*known != tag)) {
            return None;
        }
        let same_tag = u64::from_le_bytes(self.tags.map(|known| if known == tag { 0x80 } else { 0 }));
        places(same_tag & self.live(epochs)).find(|place| {
            let stamp = self.stamps.get(place.0).copied().unwrap_or_default();
            self.middles.get(place.0) == Some(&middle) && stamp & !EPOCH_MASK == upper
        })
    }

    /// A place without a live entry.
    pub fn free(&self, epochs: Epochs) -> Option<Place> {
        places(!self.live(epochs) & HIGHEST).next()
    }

    /// The state of the entry at a place.
    pub fn state(&self, place: Place) -> State {
        let stamp = self.stamps.get(place.0).copied().unwrap_or_default();
        State { epoch: stamp & EPOCH_MASK, flags: self.flags.get(place.0).copied().unwrap_or_default() }
    }

    /// Changes the state of the entry at a place.
    pub fn set_state(&mut self, place: Place, state: State) {
        if let (Some(stamp), Some(flags)) = (self.stamps.get_mut(place.0), self.flags.get_mut(place.0)) {
            *stamp = (*stamp & !EPOCH_MASK) | state.epoch;
            *flags = state.flags;
        }
    }

    /// Puts an entry in a place.
    pub fn put(&mut self, place: Place, key: u64, state: State) {
        let parts = parts(key);
        if let (Some(tag), Some(stamp), Some(middle)) =
            (self.tags.get_mut(place.0), self.stamps.get_mut(place.0), self.middles.get_mut(place.0))
        {
            (*tag, *middle, *stamp) = parts;
        }
        self.set_state(place, state);
    }

    /// Puts in an entry of a key that has no live one; says whether there was room.
    pub fn insert(&mut self, key: u64, state: State, epochs: Epochs) -> bool {
        let place = self.free(epochs);
        if let Some(place) = place {
            self.put(place, key, state);
        }
        place.is_some()
    }

    /// The live entries, with all bits of their keys that the position does not tell.
    pub fn entries(&self, epochs: Epochs) -> impl Iterator<Item = (u64, State)> {
        places(self.live(epochs)).filter_map(|place| {
            let (tag, middle) = (*self.tags.get(place.0)?, *self.middles.get(place.0)?);
            Some((key(tag, middle, *self.stamps.get(place.0)?), self.state(place)))
        })
    }

    /// Frees the places of entries that are not live.
    pub fn sweep(&mut self, epochs: Epochs) {
        let live = (self.live(epochs) >> 7) * 0xff;
        self.stamps = (u64::from_le_bytes(self.stamps) & live).to_le_bytes();
    }

    /// One word of it. To read it is to have it in the cache.
    pub fn word(&self) -> u16 {
        let [first, ..] = self.tags;
        first
    }

    /// The highest bit of each byte whose place has a live entry.
    fn live(&self, epochs: Epochs) -> u64 {
        let stamps = u64::from_le_bytes(self.stamps);
        // The highest bit less a small number leaves that bit as it is only if the number is 0.
        let have = |epoch| HIGHEST - ((stamps ^ (EACH * u64::from(epoch))) & (EACH * u64::from(EPOCH_MASK)));
        (have(epochs.young) | have(epochs.old)) & HIGHEST
    }
}

/// The places whose bytes have the highest bit.
fn places(mut bytes: u64) -> impl Iterator<Item = Place> {
    std::iter::from_fn(move || {
        let place = Place((bytes.trailing_zeros() / 8) as usize);
        let is_any = bytes != 0;
        bytes &= bytes.wrapping_sub(1);
        is_any.then_some(place)
    })
}

/// The bits of a key above those of the position: tag, middle, and the highest where they stand in a stamp.
fn parts(key: u64) -> (u16, u32, u8) {
    let above = key >> POSITION_BITS;
    (above as u16, (above >> 16) as u32, (key >> 56) as u8 & !EPOCH_MASK)
}

fn key(tag: u16, middle: u32, stamp: u8) -> u64 {
    let highest = u64::from(stamp & !EPOCH_MASK) << 56;
    highest | (u64::from(middle) << 16 | u64::from(tag)) << POSITION_BITS
}
