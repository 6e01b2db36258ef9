//! The machine: its journal, every path through it, and deaths at every effect, on a simulated node.

#[cfg(test)]
mod drive;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod model;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod walk;
