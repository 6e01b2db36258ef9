//! A node that still runs an earlier release of the updater, on a repository that the present code writes.

use countersign_tests::site::Site;
use countersign_tests::wait;
use countersign_tests::world::World;

/// `.ci/full previous` builds the updater of the last tag and points `COUNTERSIGN_UPDATER` to it.
#[test]
#[ignore = "needs an updater of an earlier tag: .ci/full previous"]
fn an_updater_of_an_earlier_release_updates_from_what_this_code_publishes() {
    assert!(std::env::var_os("COUNTERSIGN_UPDATER").is_some(), "run .ci/full previous");
    let world = World::new();
    world.release("1.0.0");
    world.release("2.0.0");
    let site = Site::install(world.url(), &world.root(), "1.0.0", "0s..1s", "1s");
    let client = site.client(50);
    let said = site.run();
    assert_eq!(said.exit, 0, "{}{}", said.out, said.err);
    assert_eq!(wait::until("a version answers", || site.version()), "2.0.0");
    site.settle(client);
}
