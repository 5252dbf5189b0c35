//! Where a delivery may go: the URL that a customer may register, and the address that may be
//! dialled. Both are types; a connection takes nothing else.

mod policy;
mod url;

pub use policy::{AddressPolicy, CheckedAddress, RefusedAddress};
pub use url::{InvalidTarget, TargetUrl};
