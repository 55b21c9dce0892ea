//! Which sightings of one request are the same response. Nothing here depends on their order.

use super::groups::{Clusters, Groups};
use super::{Sighting, Weight};

/// Groups the sightings of one request.
pub fn cluster(sightings: &[Sighting]) -> Clusters {
    if are_strangers(sightings) {
        return Clusters::Strangers(sightings.len());
    }
    let mut joiner = Joiner::new(sightings);
    joiner.join_by_response();
    joiner.join_by_request();
    let mut spans = joiner.join_by_span();
    joiner.join_parents(&mut spans);
    joiner.join_agents(&mut spans);
    joiner.finish(&spans)
}

/// Whether no two sightings have anything in common, as a quick look tells; it may be wrong in saying no.
fn are_strangers(sightings: &[Sighting]) -> bool {
    if !sightings.iter().all(|sighting| sighting.leaf) {
        return false;
    }
    let mut tags = Tags::new(sightings.len() * 3);
    let is_each_new = sightings.iter().all(|sighting| {
        let keys = &sighting.keys;
        [keys.response, keys.request, keys.span].into_iter().all(|key| key == 0 || tags.insert(key))
    });
    is_each_new && !sightings.iter().any(|sighting| tags.contains(sighting.keys.parent))
}

/// A union-find over the sightings.
struct Joiner<'a> {
    sightings: &'a [Sighting],
    above: Vec<u32>,
    /// How many are below a root; the smaller tree goes under the larger, so that paths stay short.
    sizes: Vec<u32>,
    covered: Vec<bool>,
    is_joined: bool,
}

/// The sightings that name the same span.
#[derive(Clone, Copy, Debug, Default)]
struct SpanBucket {
    /// Of each kind of cluster (see [`Sighting::ids`]) the heaviest sighting.
    heaviest: [Option<u32>; 4],
    /// The heaviest that speaks for the span.
    itself: Option<u32>,
    /// The child that is the same response.
    child: Option<u32>,
    /// Whether a child, or a call of an agent, is the same response anyway.
    has_joined_child: bool,
}

struct SpanBuckets {
    index: Index,
    buckets: Vec<SpanBucket>,
}

impl<'a> Joiner<'a> {
    fn new(sightings: &'a [Sighting]) -> Self {
        Joiner {
            sightings,
            above: (0..sightings.len() as u32).collect(),
            sizes: vec![1; sightings.len()],
            covered: vec![false; sightings.len()],
            is_joined: false,
        }
    }

    fn each(&self) -> impl Iterator<Item = (u32, &'a Sighting)> + use<'a> {
        (0..).zip(self.sightings)
    }

    fn sighting(&self, index: u32) -> Option<&'a Sighting> {
        self.sightings.get(index as usize)
    }

    fn root(&self, mut index: u32) -> u32 {
        while let Some(&above) = self.above.get(index as usize)
            && above != index
        {
            index = above;
        }
        index
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        self.is_joined = true;
        let size = |root: u32| self.sizes.get(root as usize).copied().unwrap_or_default();
        let sum = size(a) + size(b);
        let (top, below) = if size(a) >= size(b) { (a, b) } else { (b, a) };
        if let (Some(above), Some(size)) =
            (self.above.get_mut(below as usize), self.sizes.get_mut(top as usize))
        {
            *above = top;
            *size = sum;
        }
    }

    fn heavier(&self, a: Option<u32>, b: u32) -> Option<u32> {
        match a {
            Some(a) if self.weight(a) >= self.weight(b) => Some(a),
            _ => Some(b),
        }
    }

    fn weight(&self, index: u32) -> Option<Weight> {
        self.sighting(index).map(Sighting::weight)
    }

    /// The same response id is the same response.
    fn join_by_response(&mut self) {
        let mut first = Index::new(self.sightings.len());
        for (i, sighting) in self.each() {
            if sighting.keys.response == 0 {
                continue;
            }
            let slot = first.slot(sighting.keys.response);
            match *slot {
                NONE => *slot = i,
                same => self.join(same, i),
            }
        }
    }

    /// The same request id is the same response, except where response ids say otherwise.
    fn join_by_request(&mut self) {
        #[derive(Clone, Copy, Default)]
        struct Bucket {
            named: Option<u32>,
            unnamed: Option<u32>,
        }
        if self.sightings.iter().all(|sighting| sighting.keys.request == 0) {
            return;
        }
        let mut index = Index::new(self.sightings.len());
        let mut buckets: Vec<Bucket> = Vec::new();
        for (i, sighting) in self.each() {
            if sighting.keys.request == 0 {
                continue;
            }
            let Some(bucket) = index.bucket(sighting.keys.request, &mut buckets) else { continue };
            if sighting.keys.response != 0 {
                bucket.named = self.heavier(bucket.named, i);
            } else if let Some(same) = bucket.unnamed {
                self.join(same, i);
            } else {
                bucket.unnamed = Some(i);
            }
        }
        for bucket in buckets {
            if let (Some(named), Some(unnamed)) = (bucket.named, bucket.unnamed) {
                self.join(named, unnamed);
            }
        }
    }

    /// The same span is the same response, except where the vendor's ids say otherwise.
    fn join_by_span(&mut self) -> SpanBuckets {
        // A cluster has the ids of all its members.
        let mut ids_of: Vec<u8> = self.sightings.iter().map(Sighting::ids).collect();
        if self.is_joined {
            for (i, sighting) in self.each() {
                let root = self.root(i);
                if let Some(of_root) = ids_of.get_mut(root as usize) {
                    *of_root |= sighting.ids();
                }
            }
        }
        let mut index = Index::new(self.sightings.len());
        let mut buckets: Vec<SpanBucket> = Vec::with_capacity(self.sightings.len());
        let roots: Vec<u32> = self.each().map(|(i, _)| self.root(i)).collect();
        for ((i, sighting), root) in self.each().zip(roots) {
            if sighting.keys.span == 0 {
                continue;
            }
            let ids = ids_of.get(root as usize).copied().unwrap_or_default();
            let Some(bucket) = index.bucket(sighting.keys.span, &mut buckets) else { continue };
            if sighting.speaks_for_span() {
                bucket.itself = self.heavier(bucket.itself, i);
            }
            let Some(heaviest) = bucket.heaviest.get_mut(ids as usize) else { continue };
            if let (0, Some(same)) = (ids, *heaviest) {
                self.join(same, i);
            }
            *heaviest = self.heavier(*heaviest, i);
        }
        for bucket in &buckets {
            let [unnamed, response, request, both] = bucket.heaviest;
            let best = both.map_or(response, |both| self.heavier(response, both)).or(request);
            for (a, b) in [(response, request), (best, unnamed)] {
                if let (Some(a), Some(b)) = (a, b) {
                    self.join(a, b);
                }
            }
        }
        SpanBuckets { index, buckets }
    }

    /// A span is the same response as one of the spans right below it.
    fn join_parents(&mut self, spans: &mut SpanBuckets) {
        for (i, sighting) in self.each() {
            let keys = &sighting.keys;
            if keys.parent == 0 {
                continue;
            }
            let Some(bucket) = spans.of(keys.parent) else { continue };
            let Some(parent) = bucket.itself else { continue };
            if self.root(parent) == self.root(i) {
                bucket.has_joined_child = true;
            }
            bucket.child = self.likelier(parent, bucket.child, i);
        }
        for bucket in &spans.buckets {
            if let (Some(parent), Some(child), false) = (bucket.itself, bucket.child, bucket.has_joined_child)
            {
                self.join(parent, child);
            }
        }
    }

    /// Which of two sightings rather is the one that `repeat` repeats.
    fn likelier(&self, repeat: u32, a: Option<u32>, b: u32) -> Option<u32> {
        let ending = self.sighting(repeat).map(|sighting| sighting.ending);
        let likeness =
            |index| (self.sighting(index).map(|sighting| sighting.ending) == ending, self.weight(index));
        match a {
            Some(a) if likeness(a) >= likeness(b) => Some(a),
            _ => Some(b),
        }
    }

    /// An agent without a call below it is the same response as one of the calls of its trace.
    fn join_agents(&mut self, spans: &mut SpanBuckets) {
        if self.sightings.iter().all(|sighting| sighting.leaf) {
            return;
        }
        let roots: Vec<u32> = self.each().map(|(i, _)| self.root(i)).collect();
        let mut has_leaf = vec![false; self.sightings.len()];
        for (sighting, root) in self.sightings.iter().zip(&roots) {
            if let Some(has_leaf) = has_leaf.get_mut(*root as usize) {
                *has_leaf |= sighting.leaf;
            }
        }
        let has_leaf = |root: u32| has_leaf.get(root as usize).copied().unwrap_or_default();

        // The heaviest call of each trace, and of each ending in it.
        let mut calls = Index::new(self.sightings.len() * 2);
        let mut agents = Index::new(self.sightings.len());
        for ((i, sighting), root) in self.each().zip(&roots) {
            if sighting.keys.trace == 0 {
                continue;
            }
            if sighting.leaf {
                for key in [sighting.keys.trace, sighting.trace_and_ending()] {
                    let slot = calls.slot(key);
                    *slot = self.heavier(some(*slot), i).unwrap_or(i);
                }
            } else if !has_leaf(*root) {
                let slot = agents.slot(u64::from(*root) + 1);
                *slot = self.heavier(some(*slot), i).unwrap_or(i);
            }
        }
        for ((i, sighting), root) in self.each().zip(&roots) {
            if sighting.leaf || has_leaf(*root) || sighting.keys.trace == 0 {
                continue;
            }
            let agent = *agents.slot(u64::from(*root) + 1);
            let Some(of_agent) = self.sighting(agent) else { continue };
            let same_ending = some(*calls.slot(of_agent.trace_and_ending()));
            let Some(call) = same_ending.or(some(*calls.slot(of_agent.keys.trace))) else { continue };
            self.join(agent, call);
            if let Some(covered) = self.covered.get_mut(i as usize) {
                *covered = true;
            }
            if let Some(bucket) = spans.of(sighting.keys.span) {
                bucket.has_joined_child = true;
            }
        }
    }

    fn finish(mut self, spans: &SpanBuckets) -> Clusters {
        for (i, sighting) in self.each() {
            let has_child = sighting.speaks_for_span()
                && spans.get(sighting.keys.span).is_some_and(|b| b.has_joined_child || b.child.is_some());
            if let (true, Some(covered)) = (has_child, self.covered.get_mut(i as usize)) {
                *covered = true;
            }
        }
        let groups = Groups::new(self.each().map(|(i, _)| (self.root(i), i)).collect(), self.covered);
        Clusters::Groups(groups)
    }
}

impl SpanBuckets {
    fn of(&mut self, span: u64) -> Option<&mut SpanBucket> {
        if span == 0 {
            return None;
        }
        let place = some(self.index.get(span))?;
        self.buckets.get_mut(place as usize)
    }

    fn get(&self, span: u64) -> Option<&SpanBucket> {
        if span == 0 {
            return None;
        }
        let place = some(self.index.get(span))?;
        self.buckets.get(place as usize)
    }
}

/// A set of the halves of keys: open addressing, sized once. It may take different keys for the same.
struct Tags {
    slots: Vec<u32>,
}

impl Tags {
    /// For at most `keys` keys.
    fn new(keys: usize) -> Self {
        Tags { slots: vec![0; (keys * 4).next_power_of_two()] }
    }

    /// Whether `key` was not there before.
    fn insert(&mut self, key: u64) -> bool {
        let (place, is_new) = self.find(key);
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = tag(key);
        }
        is_new
    }

    fn contains(&self, key: u64) -> bool {
        key != 0 && !self.find(key).1
    }

    /// Where `key` is or belongs, and whether that place is free.
    fn find(&self, key: u64) -> (usize, bool) {
        let mask = self.slots.len() - 1;
        let mut place = key as usize & mask;
        while let Some(&slot) = self.slots.get(place) {
            if slot == 0 || slot == tag(key) {
                return (place, slot == 0);
            }
            place = (place + 1) & mask;
        }
        (0, false)
    }
}

fn tag(key: u64) -> u32 {
    (key >> 32) as u32 | 1
}

const NONE: u32 = u32::MAX;

fn some(value: u32) -> Option<u32> {
    (value != NONE).then_some(value)
}

/// From keys to small numbers: open addressing, sized once.
struct Index {
    slots: Vec<(u64, u32)>,
    spare: u32,
}

impl Index {
    /// For at most `keys` different keys.
    fn new(keys: usize) -> Self {
        Index { slots: vec![(0, NONE); (keys * 2).next_power_of_two()], spare: NONE }
    }

    /// The number of `key`, which must not be 0; [`NONE`] at first.
    fn slot(&mut self, key: u64) -> &mut u32 {
        let place = self.find(key);
        match self.slots.get_mut(place) {
            Some((known, number)) => {
                *known = key;
                number
            }
            None => &mut self.spare,
        }
    }

    fn get(&self, key: u64) -> u32 {
        self.slots.get(self.find(key)).map_or(NONE, |(_, number)| *number)
    }

    /// The bucket of `key` in `buckets`, a new one at first.
    fn bucket<'b, B: Default>(&mut self, key: u64, buckets: &'b mut Vec<B>) -> Option<&'b mut B> {
        let slot = self.slot(key);
        if *slot == NONE {
            *slot = buckets.len() as u32;
            buckets.push(B::default());
        }
        buckets.get_mut(*slot as usize)
    }

    fn find(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = key as usize & mask;
        while let Some(&(known, number)) = self.slots.get(place) {
            if known == key || (known == 0 && number == NONE) {
                return place;
            }
            place = (place + 1) & mask;
        }
        0
    }
}
