//! Which addresses may be dialled.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// Decides about addresses: everything that is not globally reachable unicast is refused, unless
/// the operator's allow list names it.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
}

/// An address that the policy let through; the client dials nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedAddress(SocketAddr);

/// An address that must not be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} is refused: {reason}")]
pub struct RefusedAddress {
    /// The address, as it would have been dialled.
    pub address: IpAddr,
    /// What it is: "loopback", "private (RFC 1918)", "cloud metadata" …
    pub reason: &'static str,
}

impl AddressPolicy {
    /// The policy with an operator's allow list (`delivery.allow_networks`).
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Checks an address and port.
    ///
    /// # Errors
    /// It must not be dialled.
    pub fn check(&self, _address: SocketAddr) -> Result<CheckedAddress, RefusedAddress> {
        let _ = &self.allowed;
        unimplemented!()
    }
}

impl CheckedAddress {
    /// The address to dial.
    #[must_use]
    pub fn get(self) -> SocketAddr {
        self.0
    }
}
