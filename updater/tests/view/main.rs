//! What a node shows and gives to others: its pages, its standing with peers, its mirror.

#[cfg(test)]
#[path = "../common/clients.rs"]
#[expect(dead_code, reason = "the agent's tests use the rest")]
mod clients;
#[cfg(test)]
#[path = "../../src/fixture/mod.rs"]
mod fixture;
#[cfg(test)]
#[path = "../agent/node.rs"]
#[expect(dead_code, reason = "the agent's tests use the rest")]
mod node;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod process;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod units;

/// The program under test.
#[cfg(test)]
fn program() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_BIN_EXE_countersign-updater"))
}
