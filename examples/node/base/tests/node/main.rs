//! The example node as its operator and its clients see it: the real program, real sockets, a real disk.

#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod client;
#[cfg(test)]
mod drains;
#[cfg(test)]
mod exchanges;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod migrates;
#[cfg(test)]
mod starts;
#[cfg(test)]
mod survives;
