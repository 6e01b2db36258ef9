//! All that differs between the releases of this node.

/// This release.
pub(crate) const VERSION: &str = "2.3.0";
