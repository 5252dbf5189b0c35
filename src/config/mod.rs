//! The configuration: a TOML file and the environment become [`Settings`], or every problem at
//! once, each with its file, line and key. An unsafe combination is a problem.
//!
//! No other room reads the environment.

pub mod environment;
mod file;
mod load;
mod problem;
mod reader;
mod settings;
mod token;
mod value;
mod verify;

pub use environment::Environment;
pub use load::{FirstTokenError, Overrides};
pub use problem::{Place, Problem};
pub use settings::{
    Account, Delivery, Limits, ProviderApi, ProxyUrl, RedisUrl, Retention, Settings, Source, StoreAddress,
    Tls,
};
pub use token::{Identity, Token, TokenHash, Tokens};
pub use verify::read_verifier;
