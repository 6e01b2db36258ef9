//! The supervisor with a real node, real sockets and real signals.

#[cfg(test)]
mod beside;
#[cfg(test)]
#[path = "../common/clients.rs"]
mod clients;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod mirror;
#[cfg(test)]
mod replaced;
#[cfg(test)]
mod swaps;
#[cfg(test)]
mod systemd;
#[cfg(test)]
mod tiny;
