//! A program whose `main` does not begin as it must: nothing of it is executed again.

use countersign_sandbox::{Error, Sandbox};

#[test]
fn a_program_that_does_not_call_init_if_asked_starts_no_sandbox() {
    let refused = Sandbox::new(vec!["/bin/true".into()]).run();
    assert!(
        matches!(&refused, Err(Error::Description { what }) if what.contains("init_if_asked")),
        "{refused:?}"
    );
}
