//! Sessions: requests and answers in tables, and every interleaving of several shards against
//! a model.

mod api;
mod shards;
mod world;
