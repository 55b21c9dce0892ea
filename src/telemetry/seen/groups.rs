//! The sightings of a request by response.

/// The sightings of a request, grouped by response.
#[derive(Debug)]
pub enum Clusters {
    /// So many calls that have nothing in common: each is a response.
    Strangers(usize),
    /// Sightings of which some may be the same response.
    Groups(Groups),
}

/// Sightings by response, as indices.
#[derive(Debug)]
pub struct Groups {
    members: Vec<u32>,
    ends: Vec<u32>,
    covered: Vec<bool>,
}

impl Clusters {
    /// How many responses there are.
    pub fn len(&self) -> usize {
        match self {
            Clusters::Strangers(count) => *count,
            Clusters::Groups(groups) => groups.ends.len(),
        }
    }

    /// Whether there are no responses.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Groups {
    /// Of all sightings, each with a number that those of its response share. `covered` tells which of them stand for
    /// the response of a span below.
    pub fn new(mut sightings: Vec<(u32, u32)>, covered: Vec<bool>) -> Self {
        sightings.sort_unstable();
        let mut end = 0;
        let ends = sightings.chunk_by(|(a, _), (b, _)| a == b).map(|group| {
            end += group.len() as u32;
            end
        });
        let ends = ends.collect();
        Groups { ends, members: sightings.into_iter().map(|(_, sighting)| sighting).collect(), covered }
    }

    /// Of so many sightings, each of which is a response.
    pub fn each_alone(sightings: usize) -> Self {
        let count = sightings as u32;
        let (members, ends) = ((0..count).collect(), (1..=count).collect());
        Groups { members, ends, covered: vec![false; sightings] }
    }

    /// The sightings of each response.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let members = self.members.get(start as usize..*end as usize).unwrap_or_default();
            start = *end;
            members
        })
    }

    /// Whether a sighting stands for the response of a span below it that is here too.
    pub fn is_covered(&self, sighting: u32) -> bool {
        self.covered.get(sighting as usize).copied().unwrap_or_default()
    }
}
