//! Ringback.

pub mod api;
pub mod config;
pub mod context;
pub mod delivery;
pub mod destination;
pub mod event;
pub mod http;
pub mod intake;
pub mod limit;
pub mod provider;
pub mod quantity;
pub mod registration;
pub mod signature;
pub mod store;
pub mod template;
