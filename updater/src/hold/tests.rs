//! The draw is uniform and never re-rolled; what keyholders say moves it as far as the operator lets them.

use super::*;

fn window(min: u64, max: u64) -> Window {
    Window { min: Duration::from_millis(min), max: Duration::from_millis(max) }
}

fn seed(node: u64) -> [u8; 32] {
    *Sha256::of(&node.to_be_bytes()).as_bytes()
}

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn at(seconds: i64, boot: &str, boot_ms: u64) -> Moment {
    Moment::new(jiff::Timestamp::from_second(seconds).unwrap(), boot, boot_ms)
}

fn delays(nodes: u64, window: Window) -> Vec<u64> {
    let release = Sha256::of(b"release");
    (0..nodes).map(|node| millis(draw(&seed(node), &release, window))).collect()
}

#[test]
fn ten_thousand_nodes_spread_evenly_over_the_window() {
    let (bins, nodes) = (50usize, 10_000u64);
    let window = window(HOUR, HOUR + DAY - 1);
    let mut counts = vec![0f64; bins];
    for delay in delays(nodes, window) {
        assert!((HOUR..HOUR + DAY).contains(&delay));
        counts[(delay - HOUR) as usize * bins / DAY as usize] += 1.0;
    }
    let expected = nodes as f64 / bins as f64;
    let chi: f64 = counts.iter().map(|n| (n - expected).powi(2) / expected).sum();
    // 49 degrees of freedom: 99.9 % of fair draws stay below 85.4, 0.1 % below 23.98.
    assert!((23.9..85.4).contains(&chi), "chi-square {chi}");
}

#[test]
fn the_draws_of_ten_thousand_nodes_keep_the_distance_of_kolmogorov_and_smirnov() {
    let mut delays = delays(10_000, window(0, DAY));
    delays.sort_unstable();
    let n = delays.len() as f64;
    let distance = delays.iter().enumerate().map(|(i, delay)| {
        let (share, below) = (*delay as f64 / DAY as f64, i as f64 / n);
        (share - below).abs().max((share - below - 1.0 / n).abs())
    });
    let distance = distance.fold(0f64, f64::max) * n.sqrt();
    // 99.9 % of fair samples stay below 1.95, and 0.1 % below 0.38.
    assert!((0.38..1.95).contains(&distance), "distance {distance}");
}

#[test]
fn a_draw_is_the_same_for_ever_and_another_for_another_release_or_node() {
    let window = window(0, DAY);
    let first = draw(&seed(1), &Sha256::of(b"a"), window);
    assert_eq!(first, draw(&seed(1), &Sha256::of(b"a"), window));
    assert_ne!(first, draw(&seed(1), &Sha256::of(b"b"), window));
    assert_ne!(first, draw(&seed(2), &Sha256::of(b"a"), window));
}

#[test]
fn both_ends_of_a_narrow_window_are_drawn_and_nothing_else() {
    let mut seen = std::collections::BTreeSet::new();
    for node in 0..200 {
        seen.insert(draw(&seed(node), &Sha256::of(b"a"), window(5, 7)).as_millis());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!(draw(&seed(1), &Sha256::of(b"a"), window(9, 9)).as_millis(), 9);
    let endless = Window { min: Duration::ZERO, max: Duration::MAX };
    assert!(draw(&seed(1), &Sha256::of(b"a"), endless) > Duration::from_hours(24));
}

fn terms(urgent: bool, floor: Option<u64>, window_seconds: Option<u64>) -> Terms {
    let rollout = Rollout { window_seconds, ..Rollout::default() };
    Terms::new(window(HOUR, DAY), floor.map(Duration::from_millis), urgent, &rollout)
}

#[test]
fn keyholders_make_the_window_longer_and_shorter_only_for_the_urgent_down_to_the_operators_floor() {
    let week = 7 * DAY;
    for (urgent, floor, asked, wanted) in [
        (false, None, None, (HOUR, DAY)),
        (false, None, Some(week / 1000), (HOUR, week)),
        (false, Some(2 * HOUR), Some(60), (HOUR, DAY)),
        (true, None, Some(60), (HOUR, DAY)),
        (true, Some(2 * HOUR), None, (HOUR, 2 * HOUR)),
        (true, Some(2 * HOUR), Some(60), (HOUR, 2 * HOUR)),
        (true, Some(2 * HOUR), Some(3 * HOUR / 1000), (HOUR, 3 * HOUR)),
        (true, Some(2 * HOUR), Some(week / 1000), (HOUR, week)),
        (true, Some(60_000), None, (60_000, 60_000)),
        (true, Some(week), None, (HOUR, DAY)),
    ] {
        let found = terms(urgent, floor, asked).window;
        assert_eq!(found, window(wanted.0, wanted.1), "{urgent} {floor:?} {asked:?}");
    }
}

fn hold(node: u64, terms: &Terms, now: &Moment) -> Hold {
    settle(node, None, terms, now)
}

fn settle(node: u64, before: Option<&Hold>, terms: &Terms, now: &Moment) -> Hold {
    Hold::settle(before, &Seed::from_bytes(seed(node)), &Sha256::of(b"release"), terms, now)
}

#[test]
fn a_rollout_that_is_changed_moves_the_same_draw_and_changed_back_moves_it_back() {
    let (plain, slow) = (terms(false, None, None), terms(false, None, Some(7 * DAY / 1000)));
    for node in 0..100 {
        let first = hold(node, &plain, &at(1000, "a", 50));
        assert_eq!(first.outdated(&plain, &at(1000 + 60, "a", 60_050)), None);
        let later = at(1000 + 1800, "a", 1_800_050);
        assert!(first.outdated(&slow, &later).unwrap().contains("keyholders"));
        let slower = settle(node, Some(&first), &slow, &later);
        assert!(slower.delay_ms >= first.delay_ms, "longer is never sooner");
        assert_eq!(slower.not_before.boot_ms, 50 + slower.delay_ms);
        let back = settle(node, Some(&slower), &plain, &later);
        assert_eq!(back.not_before.boot_ms, first.not_before.boot_ms);
        assert_eq!(back.not_before.wall, first.not_before.wall);
    }
}

#[test]
fn what_keyholders_set_as_the_earliest_instant_holds_on_the_boot_clock_too() {
    let rollout = Rollout {
        not_before: Some(jiff::Timestamp::from_second(1000 + 48 * 3600).unwrap()),
        ..Rollout::default()
    };
    let terms = Terms::new(window(HOUR, DAY), None, false, &rollout);
    let hold = hold(1, &terms, &at(1000, "a", 0));
    assert_eq!(hold.end(&at(1000, "a", 0)).boot_ms, 2 * DAY);
    assert!(!hold.is_over(&at(9_999_999, "a", 2 * DAY - 1)), "the wall clock was set");
    assert!(hold.is_over(&at(0, "a", 2 * DAY)));
    let booted = at(1000 + 24 * 3600, "b", 0);
    assert_eq!(settle(1, Some(&hold), &terms, &booted).end(&booted).boot_ms, DAY);
}

#[test]
fn a_reboot_takes_off_what_has_passed_once_and_a_clock_set_back_takes_nothing_off() {
    let plain = terms(false, None, None);
    let first = hold(1, &plain, &at(1_000_000, "a", 7));
    let delay = first.delay_ms;
    let left = |hold: &Hold, now: &Moment| millis(now.until(hold.end(now)));
    // Off for a minute.
    let booted = at(1_000_060, "b", 9);
    assert!(first.outdated(&plain, &booted).unwrap().contains("restarted"));
    let next = settle(1, Some(&first), &plain, &booted);
    assert_eq!(left(&next, &booted), delay - 60_000);
    assert_eq!(next.outdated(&plain, &booted), None);
    // From now on the wall clock of this boot says nothing.
    let jumped = at(9_999_999, "b", 1009);
    assert_eq!(left(&next, &jumped), delay - 61_000);
    assert!(next.outdated(&plain, &jumped).unwrap().contains("was set"));
    let set = settle(1, Some(&next), &plain, &jumped);
    assert_eq!(left(&set, &jumped), delay - 61_000);
    // Then a boot with a clock that is behind: only the time since the boot has passed for sure.
    let behind = at(5, "c", 2_000);
    let carried = settle(1, Some(&set), &plain, &behind);
    assert_eq!(left(&carried, &behind), delay - 63_000);
    // One that was over before the reboot was so when the new boot began.
    let over = settle(1, Some(&first), &plain, &at(1_000_000 + 86_401, "b", 9));
    assert_eq!(over.not_before.boot_ms, 0);
    assert_eq!(over.outdated(&plain, &at(9_999_999, "b", 50)), None, "nothing is left to keep");
}

#[test]
fn a_hold_off_of_an_earlier_format_goes_on() {
    let old = r#"{"delay_ms":5,"not_before":{"wall":"2026-01-01T00:00:00Z","boot":"a","boot_ms":3600000,"within_ms":5}}"#;
    let old: Hold = serde_json::from_str(old).unwrap();
    let (plain, now) = (terms(false, None, None), at(1000, "a", 3_599_000));
    assert!(!old.is_over(&now) && old.outdated(&plain, &now).is_some());
    let next = settle(1, Some(&old), &plain, &now);
    assert_eq!((next.not_before.boot_ms, next.outdated(&plain, &now)), (3_600_000, None));
}

mod fleet;
