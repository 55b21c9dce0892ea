use super::*;
use proptest::prelude::*;

/// One sighting, told by small numbers; 0 is absent.
#[derive(Clone, Copy, Debug)]
struct Item {
    response: u8,
    request: u8,
    trace: u8,
    span: u8,
    parent: u8,
    is_span: bool,
    leaf: bool,
    has_model: bool,
    ending: u16,
    richness: u32,
}

const ORDINARY: u16 = 0;
const REFUSED: u16 = 4;
const NOTHING: [usize; 0] = [];

/// The span of a call to a model, without any id of the vendor.
fn call(trace: u8, span: u8) -> Item {
    Item {
        response: 0,
        request: 0,
        trace,
        span,
        parent: 0,
        is_span: true,
        leaf: true,
        has_model: true,
        ending: ORDINARY,
        richness: 1,
    }
}

/// A log record that was written in a span.
fn log(trace: u8, span: u8) -> Item {
    Item { is_span: false, ..call(trace, span) }
}

/// The span of an agent or a framework around calls.
fn agent(trace: u8, span: u8) -> Item {
    Item { leaf: false, richness: 0, ..call(trace, span) }
}

impl Item {
    fn response(self, response: u8) -> Self {
        Item { response, ..self }
    }

    fn request(self, request: u8) -> Self {
        Item { request, ..self }
    }

    fn under(self, parent: u8) -> Self {
        Item { parent, ..self }
    }

    fn ended(self, ending: u16, richness: u32) -> Self {
        Item { ending, richness, ..self }
    }

    fn sighting(self) -> Sighting {
        let id = |kind: &str, n: u8| if n == 0 { String::new() } else { format!("{kind}_{n:032}") };
        let trace = if self.trace == 0 { Vec::new() } else { vec![self.trace; 16] };
        let span = |n: u8| if n == 0 { Vec::new() } else { vec![n; 8] };
        let identity = Identity {
            response_id: &id("msg", self.response),
            request_id: &id("req", self.request),
            trace_id: &trace,
            span_id: &span(self.span),
            parent_span_id: &span(self.parent),
            is_span: self.is_span,
            leaf: self.leaf,
        };
        Sighting {
            keys: Keys::new(&identity, &hash()),
            is_span: self.is_span,
            leaf: self.leaf,
            has_model: self.has_model,
            ending: self.ending,
            richness: self.richness,
            content: u64::from(self.ending) * 100 + u64::from(self.richness),
        }
    }
}

fn hash() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

fn seen() -> Seen {
    Seen::new(1000)
}

impl Seen {
    /// The places of those items of a request that count.
    fn counted(&mut self, items: &[Item]) -> Vec<usize> {
        let sightings: Vec<Sighting> = items.iter().map(|item| item.sighting()).collect();
        let mut counted = Vec::new();
        self.admit(&sightings, &cluster(&sightings), |response| counted.push(response.richest));
        counted.sort_unstable();
        counted
    }
}

/// How many count when all come in one request, and when each comes in its own.
fn counts(items: &[Item]) -> (usize, usize) {
    let (mut together, mut apart) = (seen(), seen());
    let one_by_one = items.iter().map(|item| apart.counted(std::slice::from_ref(item)).len()).sum();
    (together.counted(items).len(), one_by_one)
}

#[test]
fn different_calls_count_each() {
    let calls =
        [call(1, 1).response(1), call(1, 2).response(2), call(2, 1).response(3), call(2, 2), call(3, 1)];
    assert_eq!(counts(&calls), (5, 5));
}

#[test]
fn what_has_no_identity_counts_each_time() {
    let nobody = [call(0, 0), call(0, 0), log(0, 0), agent(0, 0), log(1, 0), call(0, 1)];
    assert_eq!(counts(&nobody), (6, 6));
}

#[test]
fn a_client_that_sends_the_same_export_again_counts_once() {
    let export = [
        call(1, 1).response(1),
        call(1, 2),
        call(1, 3).under(2),
        agent(1, 4),
        log(2, 1),
        log(2, 2).response(2),
        log(2, 2).response(3),
        agent(3, 1),
    ];
    let mut seen = seen();
    assert_eq!(seen.counted(&export).len(), 6);
    assert_eq!(seen.counted(&export), NOTHING);
    for item in export {
        assert_eq!(seen.counted(&[item]), NOTHING, "{item:?}");
    }
}

#[test]
fn a_span_and_the_log_record_of_its_response_are_one() {
    assert_eq!(counts(&[call(1, 1).response(1), log(1, 1)]), (1, 1));
    assert_eq!(counts(&[log(1, 1), call(1, 1).response(1)]), (1, 1));
    assert_eq!(counts(&[call(1, 1), log(1, 1).response(1)]), (1, 1));
    assert_eq!(counts(&[call(1, 1), log(1, 1), log(1, 1)]), (1, 1));
    assert_eq!(counts(&[call(1, 1).request(1), log(1, 1).response(1)]), (1, 1));
}

#[test]
fn several_responses_that_were_logged_in_one_span_are_several() {
    let logs = [log(1, 1).response(1), log(1, 1).response(2), log(1, 1).request(3), log(1, 1).request(4)];
    assert_eq!(counts(&[logs[0], logs[1]]), (2, 2));
    assert_eq!(counts(&[logs[2], logs[3]]), (2, 2));
    assert_eq!(counts(&[log(1, 1), logs[0], logs[1]]), (2, 2));
    assert_eq!(counts(&[logs[0], logs[1], log(1, 1)]), (2, 2));
}

#[test]
fn the_sdks_own_span_beside_a_librarys_span_of_the_same_call_is_one() {
    let library = call(1, 1).response(1);
    assert_eq!(counts(&[library, call(1, 2).under(1).response(1).request(1)]), (1, 1));
    assert_eq!(counts(&[call(1, 2).under(1).response(1).request(1), library]), (1, 1));
    assert_eq!(counts(&[call(1, 1), call(1, 2).under(1).request(1)]), (1, 1));
    assert_eq!(counts(&[call(1, 2).under(1), call(1, 1)]), (1, 1));
}

#[test]
fn two_libraries_spans_side_by_side_are_one_by_their_response_id() {
    assert_eq!(counts(&[call(1, 1).under(9).response(1), call(1, 2).under(9).response(1)]), (1, 1));
}

#[test]
fn a_raw_request_below_a_span_is_one_with_it_although_the_proxy_invented_an_id() {
    let (outer, raw) = (call(1, 1).response(1), call(1, 2).under(1).response(2));
    assert_eq!(counts(&[outer, raw]), (1, 1));
    assert_eq!(counts(&[raw, outer]), (1, 1));
}

#[test]
fn an_agent_that_repeats_how_its_call_ended_does_not_count() {
    let (agent, call) = (agent(1, 1), call(1, 2).under(1).response(1));
    assert_eq!(counts(&[agent, call]), (1, 1));
    assert_eq!(counts(&[call, agent]), (1, 1));
}

#[test]
fn an_agent_does_not_count_when_a_step_that_tells_nothing_stands_between_it_and_the_call() {
    let (agent, call) = (agent(1, 1), call(1, 3).under(2).response(1));
    assert_eq!(counts(&[agent, call]), (1, 1));
    assert_eq!(counts(&[call, agent]), (1, 1));
}

#[test]
fn an_agent_stands_for_one_call_and_its_further_calls_count() {
    let calls = [call(1, 2).under(1), call(1, 3).under(1).response(3), call(1, 4).under(9)];
    let agent = agent(1, 1);
    assert_eq!(counts(&[agent, calls[0], calls[1], calls[2]]), (3, 3));
    assert_eq!(counts(&[calls[0], calls[1], calls[2], agent]), (3, 3));
    assert_eq!(counts(&[calls[0], agent, calls[1], calls[2]]), (3, 3));
}

#[test]
fn agents_around_an_agent_count_with_it() {
    let agents = [agent(1, 1), agent(1, 2).under(1), agent(1, 3).under(2)];
    assert_eq!(counts(&agents), (1, 1));
    assert_eq!(counts(&[agents[2], agents[1], agents[0]]), (1, 1));
    let call = call(1, 4).under(3);
    assert_eq!(counts(&[agents[0], agents[1], agents[2], call]), (1, 1));
    assert_eq!(counts(&[call, agents[2], agents[1], agents[0]]), (1, 1));
}

#[test]
fn an_agent_whose_calls_nobody_tells_of_counts() {
    assert_eq!(counts(&[agent(1, 1), call(2, 1)]), (2, 2));
    assert_eq!(counts(&[agent(1, 1), agent(1, 2)]), (2, 2));
}

#[test]
fn client_span_kernel_span_and_gateway_span_of_one_call_are_one() {
    let (client, kernel, gateway) =
        (call(1, 1).response(1), call(2, 1).response(1), call(1, 3).under(9).response(1));
    assert_eq!(counts(&[client, kernel, gateway]), (1, 1));
    assert_eq!(counts(&[kernel, gateway, client]), (1, 1));
    // Without ids: the kernel's span is a child of the client's, the gateway's is a child of that.
    let chain = [call(1, 1), call(1, 2).under(1), call(1, 3).under(2)];
    assert_eq!(counts(&chain), (1, 1));
    assert_eq!(counts(&[chain[2], chain[1], chain[0]]), (1, 1));
}

#[test]
fn a_gateway_that_tries_twice_tells_of_two_responses() {
    let client = call(1, 1).response(2);
    let tries = [call(1, 2).under(1).response(1), call(1, 3).under(1).response(2)];
    assert_eq!(counts(&[client, tries[0], tries[1]]).0, 2);
    assert_eq!(counts(&[tries[0], tries[1], client]), (2, 2));
    let mut seen = seen();
    assert_eq!(seen.counted(&[client]), [0]);
    assert_eq!(seen.counted(&tries), [0]);
    let nameless = [call(1, 1), call(1, 2).under(1), call(1, 3).under(1)];
    assert_eq!(counts(&nameless), (2, 2));
    assert_eq!(counts(&[nameless[1], nameless[2], nameless[0]]), (2, 2));
}

#[test]
fn the_request_id_joins_where_a_response_id_is_not_there_and_yields_where_two_differ() {
    assert_eq!(counts(&[log(0, 0).request(1), call(1, 1).request(1).response(1)]), (1, 1));
    assert_eq!(counts(&[call(1, 1).request(1).response(1), log(0, 0).request(1)]), (1, 1));
    assert_eq!(counts(&[log(0, 0).request(1), log(0, 0).request(1)]), (1, 1));
    // One incoming request that made two calls.
    assert_eq!(counts(&[call(1, 1).request(1).response(1), call(1, 2).request(1).response(2)]), (2, 2));
    let first_without =
        [log(0, 0).request(1), call(1, 1).request(1).response(1), call(1, 2).request(1).response(2)];
    assert_eq!(counts(&first_without), (2, 2));
}

/// The key of a response id in a trace.
fn response_key(id: &str, trace: &[u8]) -> u64 {
    Keys::new(&Identity { response_id: id, trace_id: trace, ..Identity::default() }, &hash()).response
}

#[test]
fn an_empty_id_is_no_id() {
    assert_eq!(response_key("", &[1; 16]), 0);
    let zeros =
        Identity { trace_id: &[0; 16], span_id: &[0; 8], parent_span_id: &[0; 8], ..Identity::default() };
    assert_eq!(Keys::new(&zeros, &hash()), Keys::default());
    let torn = Identity { trace_id: &[1; 3], span_id: &[1; 8], ..Identity::default() };
    assert_eq!(Keys::new(&torn, &hash()), Keys::default());
}

#[test]
fn a_short_id_counts_only_together_with_the_trace() {
    let short = "chatcmpl-normal";
    assert_eq!(short.len(), 15);
    assert_eq!(response_key(short, &[]), 0);
    assert_eq!(response_key(short, &[1; 16]), response_key(short, &[1; 16]));
    assert_ne!(response_key(short, &[1; 16]), response_key(short, &[2; 16]));
    let long = "chatcmpl-normal1";
    assert_eq!(response_key(long, &[]), response_key(long, &[2; 16]));
}

#[test]
fn a_response_id_and_a_request_id_of_the_same_text_are_different() {
    let id = "0123456789abcdef0123";
    let keys = Keys::new(&Identity { response_id: id, request_id: id, ..Identity::default() }, &hash());
    assert_ne!(keys.response, keys.request);
}

#[test]
fn within_a_request_the_richest_sighting_counts() {
    let poor = call(1, 1).response(1).ended(ORDINARY, 1);
    let rich = call(1, 2).response(1).ended(REFUSED, 9);
    assert_eq!(seen().counted(&[poor, rich]), [1]);
    assert_eq!(seen().counted(&[rich, poor]), [0]);
    let agent = agent(1, 3).ended(REFUSED, 5);
    assert_eq!(seen().counted(&[agent, poor]), [0]);
}

#[test]
fn where_the_richest_does_not_tell_the_model_another_sighting_does() {
    let outer = call(1, 1).ended(ORDINARY, 1);
    let raw = Item { has_model: false, ..call(1, 2).under(1).ended(REFUSED, 9) };
    let agent = agent(1, 3).ended(ORDINARY, 0);
    for (items, expected) in [
        (vec![outer, raw, agent], Counted { richest: 1, described: 0 }),
        (vec![raw, agent, outer], Counted { richest: 0, described: 2 }),
        (vec![raw], Counted { richest: 0, described: 0 }),
    ] {
        let sightings: Vec<Sighting> = items.into_iter().map(Item::sighting).collect();
        let mut counted = Vec::new();
        seen().admit(&sightings, &cluster(&sightings), |response| counted.push(response));
        assert_eq!(counted, [expected]);
    }
}

#[test]
fn across_requests_the_first_sighting_counts() {
    let mut seen = seen();
    assert_eq!(seen.counted(&[call(1, 1).response(1).ended(ORDINARY, 1)]), [0]);
    assert_eq!(seen.counted(&[call(1, 2).response(1).ended(REFUSED, 9)]), NOTHING);
}

#[test]
fn an_agent_repeats_the_call_that_ended_as_it_did() {
    let tool = call(1, 2).under(1).ended(1, 3);
    let refused = call(1, 3).under(1).ended(REFUSED, 5);
    let last = call(1, 4).under(1).ended(ORDINARY, 2);
    let agent = agent(1, 1).ended(REFUSED, 9);
    // The agent's richer refusal takes the place of the refused call's, not that of another call.
    assert_eq!(seen().counted(&[tool, refused, last, agent]), [0, 2, 3]);
}

#[test]
fn of_those_who_compete_for_what_stands_in_the_poorest_is_the_repetition() {
    let mut seen = seen();
    assert_eq!(seen.counted(&[call(1, 1)]), [0]);
    let poor = call(1, 2).under(1).ended(ORDINARY, 1);
    let rich = call(1, 3).under(1).ended(REFUSED, 9);
    assert_eq!(seen.counted(&[poor, rich]), [1]);
}

#[test]
fn a_retry_does_not_use_up_what_stands_in() {
    let mut seen = seen();
    assert_eq!(seen.counted(&[call(1, 1)]), [0]);
    assert_eq!(seen.counted(&[call(1, 2).under(1)]), NOTHING);
    assert_eq!(seen.counted(&[call(1, 2).under(1)]), NOTHING);
    assert_eq!(seen.counted(&[call(1, 1)]), NOTHING);
    assert_eq!(seen.counted(&[call(1, 3).under(1)]), [0]);
}

#[test]
fn at_least_the_window_is_remembered_and_at_most_twice_as_much() {
    let item = |n: usize| Item { trace: (n / 200) as u8 + 1, ..call(0, (n % 200) as u8 + 1) };
    let mut seen = Seen::new(100);
    for n in 0..1000 {
        assert_eq!(seen.counted(&[item(n)]), [0]);
    }
    assert!((900..1000).all(|n| seen.counted(&[item(n)]).is_empty()));
    let mut seen = Seen::new(100);
    (0..1000).for_each(|n| drop(seen.counted(&[item(n)])));
    assert_eq!(seen.counted(&[item(799)]), [0]);
}

#[test]
fn memory_stays_within_what_is_documented() {
    let window = 10_000;
    let mut seen = Seen::new(window);
    let sighting = |n: u64| {
        let key = |kind: u64| hash().hash_one((kind, n));
        Sighting {
            keys: Keys { response: key(1), request: key(2), span: key(3), parent: key(4), trace: key(5) },
            ..call(1, 1).sighting()
        }
    };
    for request in 0..100 {
        let sightings: Vec<_> = (request * 1000..request * 1000 + 1000).map(sighting).collect();
        let mut counted = 0;
        seen.admit(&sightings, &cluster(&sightings), |_| counted += 1);
        assert_eq!(counted, 1000);
    }
    assert!(seen.bytes() <= window * 300, "{} bytes", seen.bytes());
    assert_eq!(Seen::new(65_536).bytes(), 0);
}

#[test]
fn a_deep_chain_and_a_wide_span_take_no_time() {
    let deep: Vec<Sighting> = (0..60_000_u64)
        .map(|n| {
            let keys = Keys { span: n + 1, parent: n + 2, trace: 1 << 40, ..Keys::default() };
            Sighting { keys, ..call(1, 1).sighting() }
        })
        .collect();
    let wide: Vec<Sighting> = (0..60_000_u64)
        .map(|n| {
            let keys = Keys { response: n + 1, span: 1, trace: 1 << 40, ..Keys::default() };
            Sighting { keys, leaf: n % 2 == 0, ..log(1, 1).sighting() }
        })
        .collect();
    let started = std::time::Instant::now();
    assert_eq!(cluster(&deep).len(), 1);
    assert_eq!(cluster(&wide).len(), 30_000);
    assert!(started.elapsed().as_secs() < 10);
}

/// Anything at all, in a world so small that everything meets.
fn any_item() -> impl Strategy<Value = Item> {
    let ids = (prop_oneof![3 => Just(0_u8), 1 => 1..=3_u8], prop_oneof![4 => Just(0_u8), 1 => 1..=2_u8]);
    let place = (prop_oneof![1 => Just(0_u8), 9 => 1..=2_u8], 0..=5_u8, 0..=5_u8);
    let kind = (prop::bool::weighted(0.7), prop::bool::weighted(0.8), 0..3_u16, 0..3_u32);
    (ids, place, kind).prop_map(
        |((response, request), (trace, span, parent), (is_span, leaf, ending, richness))| {
            let parent = if is_span { parent } else { 0 };
            let has_model = true;
            Item { response, request, trace, span, parent, is_span, leaf, has_model, ending, richness }
        },
    )
}

/// What is counted, told by what would be labels.
fn tell(items: &[Item], counted: &[usize]) -> Vec<(u16, u32)> {
    let mut told: Vec<_> = counted.iter().map(|n| (items[*n].ending, items[*n].richness)).collect();
    told.sort_unstable();
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_order_inside_a_request_does_not_change_what_is_counted(
        requests in prop::collection::vec(prop::collection::vec(any_item(), 1..8), 1..4),
        shuffles in prop::collection::vec(any::<u64>(), 8),
    ) {
        let (mut straight, mut shuffled) = (seen(), seen());
        for request in requests {
            let mut order: Vec<usize> = (0..request.len()).collect();
            order.sort_by_key(|n| shuffles[*n].rotate_left(*n as u32));
            let other: Vec<Item> = order.iter().map(|n| request[*n]).collect();
            let counted = straight.counted(&request);
            prop_assert_eq!(tell(&request, &counted), tell(&other, &shuffled.counted(&other)));
        }
    }

    #[test]
    fn a_repeated_request_counts_nothing(request in prop::collection::vec(any_item(), 1..8)) {
        // Only what has an identity, and no span that is above itself.
        let request: Vec<Item> = request.into_iter().filter(|item| {
            let keys = item.sighting().keys;
            keys.response != 0 || keys.request != 0 || keys.span != 0
        }).map(|item| if item.parent < item.span { item } else { item.under(0) }).collect();
        let mut seen = seen();
        seen.counted(&request);
        prop_assert_eq!(seen.counted(&request), Vec::<usize>::new());
    }

    /// Calls that are seen by several at once, below an agent, in any order and any cut into requests.
    #[test]
    fn each_call_counts_once_however_its_sightings_are_scattered(
        calls in prop::collection::vec((any::<bool>(), prop::bool::ANY, prop::bool::ANY, 0..3_u8), 1..5),
        has_agent in any::<bool>(),
        shuffles in prop::collection::vec(any::<u32>(), 40),
        cuts in prop::collection::vec(1..5_usize, 40),
    ) {
        let mut items = Vec::new();
        if has_agent {
            items.extend([agent(1, 200), agent(1, 201).under(200)]);
        }
        for (n, (is_named, has_log, has_child, above)) in (0..).zip(&calls) {
            let (span, below, response) = (10 * n + 1, 10 * n + 2, if *is_named { n + 1 } else { 0 });
            // Right below the agent, below a step that tells nothing, or below nothing.
            let parent = [201, 202, 0][usize::from(*above)];
            items.push(call(1, span).under(parent).response(response));
            if *has_log {
                items.push(log(1, span).response(response));
            }
            if *has_child {
                items.push(call(1, below).under(span).response(response));
            }
            // Seen in another trace too; an agent cannot know of that.
            if *is_named && !has_agent {
                items.push(call(2, span).response(response));
            }
        }
        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|n| shuffles[*n]);
        let mut items: Vec<Item> = order.iter().map(|n| items[*n]).collect();
        let mut seen = seen();
        let mut total = 0;
        for cut in cuts {
            let rest = items.split_off(cut.min(items.len()));
            total += seen.counted(&items).len();
            items = rest;
        }
        prop_assert_eq!(total, calls.len());
    }

    #[test]
    fn calls_that_have_nothing_in_common_count_as_any_others(
        requests in prop::collection::vec((any::<bool>(), prop::collection::vec(any_item(), 1..12)), 1..8),
    ) {
        let is_of_strangers = |sightings: &[Sighting]| matches!(cluster(sightings), Clusters::Strangers(_));
        let (mut quick, mut thorough) = (seen(), seen());
        for (only_strangers, request) in requests {
            let mut sightings = Vec::new();
            for item in request {
                sightings.push(item.sighting());
                if only_strangers && !is_of_strangers(&sightings) {
                    sightings.pop();
                }
            }
            let clusters = cluster(&sightings);
            let groups = match cluster(&sightings) {
                Clusters::Strangers(count) => Clusters::Groups(Groups::each_alone(count)),
                groups => groups,
            };
            let (mut some, mut same) = (Vec::new(), Vec::new());
            quick.admit(&sightings, &clusters, |response| some.push(response));
            thorough.admit(&sightings, &groups, |response| same.push(response));
            prop_assert_eq!(some, same);
        }
    }
}
