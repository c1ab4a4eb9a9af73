//! Names that gain and lose addresses, and processes with more than one.

use super::*;

/// A roster, the current time and the state of each address.
struct Scene {
    roster: Roster,
    sights: HashMap<String, Sight>,
    now: Instant,
}

impl Scene {
    fn new(configured: &[&str]) -> Self {
        let configured: Vec<String> = configured.iter().map(|text| (*text).to_owned()).collect();
        Self { roster: Roster::new(&configured), sights: HashMap::new(), now: Instant::now() }
    }

    fn answered(&mut self, entry: usize, addresses: &[&str]) -> Changes {
        self.roster.answered(entry, Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()));
        self.turn()
    }

    fn failed(&mut self, entry: usize) -> Changes {
        self.roster.answered(entry, Err("no answer".to_owned()));
        self.turn()
    }

    fn up(&mut self, address: &str, instance: &str) -> Changes {
        self.sights.insert(address.to_owned(), Sight { is_up: true, instance: instance.to_owned(), in_flight: 0 });
        self.turn()
    }

    fn down(&mut self, address: &str) -> Changes {
        if let Some(sight) = self.sights.get_mut(address) {
            sight.is_up = false;
        }
        self.turn()
    }

    fn holding(&mut self, address: &str, in_flight: u32) -> Changes {
        self.sights.get_mut(address).unwrap().in_flight = in_flight;
        self.turn()
    }

    fn turn(&mut self) -> Changes {
        self.roster.turn(&self.sights, self.now)
    }
}

fn counting(turn: &Changes) -> Vec<&str> {
    let counts = turn.members.iter().filter(|(_, standing)| *standing == Standing::Counts);
    counts.map(|(address, _)| address.as_str()).collect()
}

fn joined(turn: &Changes) -> Vec<&str> {
    turn.join.iter().map(|joiner| joiner.address.as_str()).collect()
}

#[test]
fn an_address_is_a_node_from_the_start_and_for_ever() {
    let mut scene = Scene::new(&["10.0.0.1:7001", "[::1]:7001"]);
    let turn = scene.turn();
    assert_eq!(joined(&turn), ["10.0.0.1:7001", "[::1]:7001"]);
    assert!(turn.join.iter().all(|joiner| joiner.name.is_none()));
    assert!(scene.roster.entries().iter().all(|entry| !entry.is_name() && entry.failure.is_none()));
    scene.up("10.0.0.1:7001", "a");
    scene.now += GHOST_MAX * 2;
    assert_eq!(counting(&scene.down("10.0.0.1:7001")), ["10.0.0.1:7001", "[::1]:7001"]);
}

#[test]
fn every_address_behind_a_name_is_a_node_and_they_come_and_go() {
    let mut scene = Scene::new(&["decode:7002"]);
    assert_eq!(scene.turn(), Changes::default(), "a name without an address is no node and no error");
    let turn = scene.answered(0, &["10.0.0.3:7002", "10.0.0.2:7002"]);
    assert_eq!(joined(&turn), ["10.0.0.2:7002", "10.0.0.3:7002"]);
    assert!(turn.join.iter().all(|joiner| joiner.name.as_deref() == Some("decode")));
    let turn = scene.answered(0, &["10.0.0.3:7002", "10.0.0.4:7002"]);
    assert_eq!((joined(&turn), turn.leave.as_slice()), (vec!["10.0.0.4:7002"], &["10.0.0.2:7002".to_owned()][..]));
    assert_eq!(counting(&turn), ["10.0.0.3:7002", "10.0.0.4:7002"]);
    assert_eq!(scene.turn().join, [], "nobody joins twice");
}

#[test]
fn requests_in_flight_hold_a_node_that_left_its_name_as_long_as_it_answers() {
    let mut scene = Scene::new(&["decode:7002"]);
    let (a, b) = ("10.0.0.2:7002", "10.0.0.3:7002");
    scene.answered(0, &[a, b]);
    scene.up(a, "a");
    scene.up(b, "b");
    scene.holding(a, 2);
    scene.holding(b, 1);
    let turn = scene.answered(0, &["10.0.0.4:7002"]);
    assert_eq!((turn.leave.len(), counting(&turn)), (0, vec!["10.0.0.4:7002"]));
    assert_eq!(turn.members[0], (a.to_owned(), Standing::Leaves));
    assert_eq!(scene.down(b).leave, [b], "its requests have failed by themselves");
    assert_eq!(counting(&scene.answered(0, &[a])), [a], "it is back");
    scene.answered(0, &["10.0.0.4:7002"]);
    assert_eq!(scene.holding(a, 0).leave, [a]);
}

#[test]
fn a_resolver_that_fails_removes_nobody_who_answers() {
    let mut scene = Scene::new(&["prefill:7001"]);
    let (a, b) = ("10.0.0.2:7001", "10.0.0.3:7001");
    scene.answered(0, &[a, b]);
    scene.up(a, "a");
    scene.up(b, "b");
    assert_eq!(counting(&scene.failed(0)), [a, b]);
    scene.down(b);
    assert_eq!(scene.roster.entries()[0].failure.as_deref(), Some("no answer"));
    scene.now += GHOST_MAX - Duration::from_secs(1);
    assert_eq!(counting(&scene.failed(0)), [a, b], "it may be back soon");
    scene.now += Duration::from_secs(1);
    assert_eq!(scene.failed(0).leave, [b]);
    scene.now += GHOST_MAX;
    assert_eq!(counting(&scene.failed(0)), [a]);
    let turn = scene.answered(0, &[a, b]);
    assert_eq!((joined(&turn), counting(&turn)), (vec![b], vec![a, b]));
    scene.down(b);
    scene.now += GHOST_MAX * 2;
    assert_eq!(counting(&scene.answered(0, &[a, b])), [a, b], "what a name lists is shown, down or not");
}

#[test]
fn one_process_behind_two_addresses_is_one_node() {
    let mut scene = Scene::new(&["localhost:7001"]);
    let (v4, v6) = ("127.0.0.1:7001", "[::1]:7001");
    assert_eq!(counting(&scene.answered(0, &[v6, v4])), [v4], "until one answers");
    assert_eq!(counting(&scene.up(v6, "a")), [v6]);
    assert_eq!(counting(&scene.up(v4, "a")), [v4], "the first leads");
    assert_eq!(counting(&scene.down(v4)), [v6], "the other stands in");
    scene.up(v4, "a");
    scene.down(v4);
    scene.down(v6);
    assert_eq!(counting(&scene.turn()).len(), 1, "it is down, and shown so");
    assert_eq!(counting(&scene.up(v6, "b")), [v6], "begun again, and reached one way only");
    assert_eq!(counting(&scene.up(v4, "c")), [v4, v6], "two processes after all");
}

#[test]
fn a_family_that_nobody_listens_on_is_no_dead_node() {
    let mut scene = Scene::new(&["localhost:7001"]);
    let (v4, v6) = ("127.0.0.1:7001", "[::1]:7001");
    scene.answered(0, &[v6, v4]);
    assert_eq!(counting(&scene.up(v4, "a")), [v4]);
    assert_eq!(counting(&scene.down(v4)), [v4], "it is down, the other never was");
    let mut nodes = Scene::new(&["prefill:7001"]);
    nodes.answered(0, &["10.0.0.2:7001", "10.0.0.3:7001"]);
    assert_eq!(
        counting(&nodes.up("10.0.0.2:7001", "a")),
        ["10.0.0.2:7001", "10.0.0.3:7001"],
        "one of two has yet to come"
    );
}

#[test]
fn the_same_address_under_two_entries_is_one_node() {
    let mut scene = Scene::new(&["10.0.0.2:7001", "prefill:7001", "other:7001"]);
    scene.turn();
    let turn = scene.answered(1, &["10.0.0.2:7001", "10.0.0.3:7001"]);
    assert_eq!(joined(&turn), ["10.0.0.3:7001"]);
    scene.answered(2, &["10.0.0.3:7001"]);
    assert_eq!(scene.answered(1, &["10.0.0.9:7001"]).leave, Vec::<String>::new(), "the other name still leads to it");
    assert_eq!(scene.answered(2, &["10.0.0.9:7001"]).leave, ["10.0.0.3:7001"]);
}

#[test]
fn nodes_that_do_not_say_who_they_are_stay_apart() {
    let mut scene = Scene::new(&["10.0.0.1:7001", "10.0.0.2:7001"]);
    scene.turn();
    scene.up("10.0.0.1:7001", "");
    assert_eq!(counting(&scene.up("10.0.0.2:7001", "")).len(), 2);
}

#[test]
fn what_cannot_be_called_is_left_out_and_a_name_has_so_many_addresses() {
    let mut scene = Scene::new(&["prefill:7001"]);
    assert_eq!(counting(&scene.answered(0, &["[fe80::1]:7001"])), Vec::<&str>::new());
    assert!(scene.roster.entries()[0].failure.is_some());
    let many: Vec<String> = (0..2_000).map(|index| format!("10.0.{}.{}:7001", index / 250, index % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(counting(&scene.answered(0, &many)).len(), ADDRESSES_MAX);
}
