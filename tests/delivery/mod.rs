//! Deliveries against receivers on loopback: well-behaved, slow, endless, hostile and absent ones.

mod addresses;
mod exchange;
mod proxy;
mod receiver;
mod scripted_store;
mod tls;
mod worker;
