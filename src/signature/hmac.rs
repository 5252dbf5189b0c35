//! The generic HMAC scheme.
