//! The rules of founding: what a node does next, given what the nodes of its list have answered.
