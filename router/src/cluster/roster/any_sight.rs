//! Property tests: whatever lookups find and addresses report, in whatever order, the roster stays a set of nodes.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// An event that the roster reacts to.
#[derive(Clone, Debug)]
enum Event {
    Found(usize, Vec<SocketAddr>),
    Failed(usize),
    Showed(SocketAddr, Sight),
    Passed(u64),
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let texts = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[fd00::2]:1", "[fe80::1]:1"];
    prop::sample::select(texts.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn event() -> impl Strategy<Value = Event> {
    let instance = prop_oneof![Just(String::new()), "[ab]", ".{0,3}"];
    let sight = (any::<bool>(), instance, prop_oneof![Just(0), Just(u32::MAX), any::<u32>()])
        .prop_map(|(is_up, instance, in_flight)| Sight { is_up, instance, in_flight });
    prop_oneof![
        // The third entry is an address, which is never looked up.
        2 => (0..2usize, prop::collection::vec(address(), 0..5)).prop_map(|(entry, found)| Event::Found(entry, found)),
        1 => (0..2usize).prop_map(Event::Failed),
        5 => (address(), sight).prop_map(|(address, sight)| Event::Showed(address, sight)),
        2 => (0..100u64).prop_map(Event::Passed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn members_are_a_set_and_every_one_that_counts_is_listed(events in prop::collection::vec(event(), 0..30)) {
        let mut roster = Roster::new(&["one:1", "two:1", "10.0.0.3:1"].map(str::to_owned));
        let (mut now, mut sights, mut known) = (Instant::now(), HashMap::new(), HashSet::new());
        for event in events {
            match event {
                Event::Found(entry, found) => _ = roster.answered(entry, Ok(found)),
                Event::Failed(entry) => _ = roster.answered(entry, Err("no answer".to_owned())),
                // Only members are asked.
                Event::Showed(address, sight) => {
                    if known.contains(&address.to_string()) {
                        sights.insert(address.to_string(), sight);
                    }
                }
                Event::Passed(seconds) => now += Duration::from_secs(seconds),
            }
            let turn = roster.turn(&sights, now);
            for left in &turn.leave {
                prop_assert!(known.remove(left), "{left} left and was not there");
                // An address that comes back is unknown until it has answered.
                sights.remove(left);
            }
            for joiner in &turn.join {
                prop_assert!(known.insert(joiner.address.clone()), "{} joined twice", joiner.address);
            }
            let members: HashSet<String> = turn.members.iter().map(|(address, _)| address.clone()).collect();
            prop_assert_eq!(members.len(), turn.members.len());
            prop_assert_eq!(&members, &known);
            for (address, standing) in &turn.members {
                let is_listed = roster.is_listed(&address.parse().unwrap());
                prop_assert_eq!(is_listed, *standing != Standing::Leaves, "{}", address);
            }
            // One process counts once, however many addresses lead to it.
            let counts = turn.members.iter().filter(|(_, standing)| *standing == Standing::Counts);
            let up = counts.filter_map(|(address, _)| sights.get(address).filter(|sight| sight.is_up));
            let processes: Vec<&str> = up.map(|sight| sight.instance.as_str()).filter(|name| !name.is_empty()).collect();
            prop_assert_eq!(processes.iter().collect::<HashSet<_>>().len(), processes.len());
        }
    }
}
