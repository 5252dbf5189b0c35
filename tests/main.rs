//! The tests of the whole, a module a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails, and says where")]

mod api;
mod command;
mod config;
mod console;
mod delivery;
mod docs;
mod fixtures;
mod house;
mod interop;
mod job;
mod path;
mod process;
mod redis_cluster;
mod redis_server;
mod redis_tls;
mod several;
mod signature;
mod store;
mod support;
mod template;
