//! One node: the store that keeps the data and the rim that turns the world into events.
pub mod node;
pub mod store;
