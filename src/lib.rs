//! Ringback.

pub mod command;
pub mod config;
pub mod context;
pub mod delivery;
pub mod destination;
pub mod event;
pub mod limit;
pub mod provider;
pub mod registration;
pub mod shutdown;
pub mod signature;
pub mod store;
pub mod telemetry;
pub mod template;
