//! Deliveries against receivers on loopback: well-behaved, slow, endless, hostile and absent ones.

// What a helper of a test unwraps, the test asserts.
#![allow(clippy::unwrap_used)]

mod addresses;
mod exchange;
mod proxy;
mod receiver;
mod scripted_store;
mod shutdown;
mod tls;
mod worker;
